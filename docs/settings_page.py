"""Writes docs/settings.md from the classes that validate a fleet file.

python docs/settings_page.py > docs/settings.md
"""

import json
from collections.abc import Iterator
from datetime import date
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt, MinLen
from pydantic.fields import FieldInfo

from pipeline.core.fleet import Fleet
from pipeline.core.own_code import ASSETS
from pipeline.core.settings import Lora, Override, Section, TweetSource
from pipeline.plan.bots import MIN_CHARS, WARN_CHARS

_HEAD = """\
# Settings

All settings are in one YAML file, the fleet file; `--set train.epochs=2` overrides a key for one command. Only `fleet`
and `tweets` are required:

```yaml
fleet: politicians
tweets: [tweets/*.csv]
```

Unknown keys are errors. Relative paths are relative to the fleet file. Secrets come from the environment.
This page is generated: `python docs/settings_page.py > docs/settings.md`.
"""
_LIMITS = """\
## Limits that are no settings

A bot needs {least:,} characters of kept text from each of its people: below that it is skipped, with the reason in the
report. Below {little:,} characters in total it is trained, with a warning.

## What base models change

A base model's folder can hold a file train_defaults.json with `train` settings. They replace the defaults above; the
fleet file's own settings take precedence. The bundled `mini` is a small model, which learns with a higher rate and has
a short context:

{rows}
"""
_SIGNS = {Ge: "≥", Gt: ">", Le: "≤", Lt: "<"}
_NAMES = {str: "text", int: "whole number", float: "number", bool: "true or false", date: "date", NoneType: "null"}


def page() -> str:
    """Returns the page as Markdown."""
    parts = [_HEAD, _section("The fleet file", Fleet), _section("tweets", TweetSource)]
    for name, field in Fleet.model_fields.items():
        kind = _section_type(field.annotation)
        if kind is not None and name != "tweets":
            parts.append(_section(name, kind))
        if name == "train":
            parts += [_section("train.overrides", Override), _section("train.lora", Lora)]
    defaults = json.loads((ASSETS / "mini" / "train_defaults.json").read_text(encoding="utf-8"))
    rows = _table(["key", "default with `mini`"], [[f"`train.{key}`", f"`{value}`"] for key, value in defaults.items()])
    parts.append(_LIMITS.format(least=MIN_CHARS, little=WARN_CHARS, rows=rows))
    return "\n".join(parts)


def _section(title: str, section: type[Section]) -> str:
    text = " ".join((section.__doc__ or "").split())
    rows = [
        [f"`{field.alias or name}`", _type(field.annotation), _default(field), _limits(field), field.description or ""]
        for name, field in section.model_fields.items()
    ]
    heading = title if " " in title else f"`{title}`"
    return f"## {heading}\n\n{text}\n\n{_table(['key', 'type', 'default', 'limits', 'description'], rows)}\n"


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _type(kind: Any) -> str:
    """Returns a type in words, for instance "list of text or null"."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _type(arguments[0])
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in arguments)
    if origin in (Union, UnionType):
        return " or ".join(_type(argument) for argument in arguments)
    if origin is list:
        inner = _type(arguments[0])
        return f"list of ({inner})" if " or " in inner else f"list of {inner}"
    if origin is dict:
        return "section"
    return "section" if _section_type(kind) else _NAMES[kind]


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    if isinstance(field.default, Section):
        return "its defaults"
    return f"`{json.dumps(field.default, ensure_ascii=False)}`"


def _limits(field: FieldInfo) -> str:
    return ", ".join(dict.fromkeys([*_bounds(field.metadata), *_inner_bounds(field.annotation)]))


def _inner_bounds(kind: Any) -> Iterator[str]:
    for argument in get_args(kind):
        if isinstance(argument, FieldInfo):
            yield from _bounds(argument.metadata)
        else:
            yield from _inner_bounds(argument)


def _bounds(metadata: list[Any]) -> Iterator[str]:
    for limit in metadata:
        if isinstance(limit, MinLen):
            yield "not empty"
        elif type(limit) in _SIGNS:
            bound = getattr(limit, type(limit).__name__.lower())
            yield f"{_SIGNS[type(limit)]} {'2³²' if bound == 2**32 else bound}"


def _section_type(kind: Any) -> type[Section] | None:
    """Returns the section class in an annotation, or None."""
    found = (one for one in (kind, *get_args(kind)) if isinstance(one, type) and issubclass(one, Section))
    return next(found, None)


if __name__ == "__main__":
    print(page(), end="")
