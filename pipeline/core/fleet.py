"""The fleet file: one YAML file that describes a fleet of bots. All settings come from it.

    fleet = load("fleet.yaml", ["train.epochs=2"])
    fleet.train.epochs, fleet.storage

Relative paths are relative to the file's folder. Every key except `fleet` and `tweets` has a default. Only secrets (of
W&B, the Hugging Face hub, the object store …) come from the environment. docs/settings.md lists all keys.
"""

import copy
import difflib
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import Field, ValidationError, field_validator

from pipeline.core.errors import UsageError
from pipeline.core.names import FLEET_NAME, MAX_BLEND, MAX_BOT_NAME, bot_name, handle_of, handles_of, not_a_handle
from pipeline.core.settings import (
    Accounts,
    Adapt,
    Evaluate,
    Filters,
    Pretrain,
    Publish,
    Section,
    Serve,
    Sweep,
    Train,
    TweetSource,
    Wandb,
)

# parts of an error's location that pydantic adds for the members of a union
_UNION_TAGS = {
    "int",
    "constrained-int",
    "str",
    "list[str]",
    "list[union[str,list[str]]]",
    "literal['auto']",
    "literal['all']",
}


class Fleet(Section):
    """One fleet: whose tweets, which bots, and where they are stored."""

    fleet: str = Field(description="The fleet's name: 1 to 63 of `a-z 0-9 - _`.")
    tweets: list[TweetSource] = Field(
        min_length=1, description="Where the tweets are: paths, or sections `tweets`; see [formats.md](formats.md)."
    )
    storage: str = Field(
        "./fleets", description="The folder or URI (`s3://bucket/fleets`) that holds the fleet's folder."
    )
    base_model: str = Field(
        "mini",
        description="The model that bots start from: `mini` (bundled), `smollm2` (from the package index), a local "
        "folder, or a Hugging Face id.",
    )
    bots: Literal["all"] | Annotated[list[str | list[str]], Field(min_length=1)] = Field(
        "all",
        description="`all` makes one bot for each person. In a list, a handle is one person's bot, an inner list of up "
        "to 10 handles a blend; the tweets of people in none of them are not kept (but see `adapt` and "
        "`evaluate.references`).",
    )
    people: dict[str, Accounts] = Field(
        {},
        description="People with several accounts, whose tweets are taken together: `{ada: [ada_x, ada.bsky.social]}`.",
    )
    filters: Filters = Field(Filters(), description="Which tweets are left out.")
    train: Train = Field(Train(), description="How bots are trained.")
    adapt: Adapt | None = Field(None, description="Adapts the base model to everybody's tweets first.")
    serve: Serve = Field(Serve(), description="How bots are served.")
    wandb: Wandb = Field(Wandb(), description="What is reported to Weights & Biases.")
    publish: Publish = Field(Publish(), description="How bots are stored and published.")
    evaluate: Evaluate = Field(Evaluate(), description="How bots are measured.")
    sweep: Sweep = Field(Sweep(), description="The recipes that `sweep` compares.")
    pretrain: Pretrain = Field(Pretrain(), description="The base model that `pretrain` makes.")

    @field_validator("fleet")
    @classmethod
    def _name(cls, value: str) -> str:
        if not FLEET_NAME.fullmatch(value):
            raise ValueError(f"{value!r} is not a fleet name (1-63 of a-z 0-9 - _)")
        return value

    @field_validator("tweets", mode="before")
    @classmethod
    def _sources(cls, value: Any) -> Any:
        entries = value if isinstance(value, list) else [value]
        return [{"path": entry} if isinstance(entry, str) else entry for entry in entries]

    @field_validator("people", mode="before")
    @classmethod
    def _short_form(cls, value: Any) -> Any:
        """`ada: [ada_x, ada.bsky.social]` is short for `ada: {accounts: [...]}`."""
        if not isinstance(value, dict):
            return value
        return {str(key): {"accounts": one} if isinstance(one, list) else one for key, one in value.items()}

    @field_validator("people")
    @classmethod
    def _people(cls, value: dict[str, Accounts]) -> dict[str, Accounts]:
        owners: dict[str, str] = {}
        for person, entry in value.items():
            if handle_of(person) != person:
                raise ValueError(not_a_handle(person))
            for account in entry.accounts:
                if owners.setdefault(account, person) != person:
                    raise ValueError(f"the account {account} is listed for {owners[account]} and for {person}")
                if account in value and account != person:
                    raise ValueError(f"{account} is a person of its own, and an account of {person}")
        return value

    @field_validator("adapt", mode="before")
    @classmethod
    def _adapt(cls, value: Any) -> Any:
        return {True: {}, False: None}[value] if isinstance(value, bool) else value

    @field_validator("bots")
    @classmethod
    def _bots(cls, value: Any) -> Any:
        return value if value == "all" else [_bot_entry(entry) for entry in value]

    @property
    def chosen(self) -> list[str] | None:
        """The names of the bots in `bots`, without repeats; None for `all`."""
        if self.bots == "all":
            return None
        names = [bot_name([bot] if isinstance(bot, str) else bot) for bot in self.bots]
        return list(dict.fromkeys(names))

    @property
    def needed(self) -> frozenset[str] | None:
        """The people whose tweets are prepared and kept: those of the bots, and the references; None: everybody."""
        references = self.evaluate.references
        if self.chosen is None or self.adapt or references == "all":
            return None
        return frozenset(handle for bot in self.chosen for handle in handles_of(bot)).union(references)

    @property
    def consented(self) -> frozenset[str]:
        """The accounts of `people` whose owners agreed (`consent: own`)."""
        return frozenset(
            account for entry in self.people.values() if entry.consent == "own" for account in entry.accounts
        )

    @property
    def owners(self) -> dict[str, str]:
        """Whose each account of `people` is: {"ada_bsky_social": "ada"}."""
        return {account: person for person, entry in self.people.items() for account in entry.accounts}


def _bot_entry(entry: str | list[str]) -> str | list[str]:
    if isinstance(entry, str):
        handle = handle_of(entry)
        if handle is None:
            raise ValueError(not_a_handle(entry))
        return handle
    handles = [_bot_entry(one) for one in entry]
    if not 1 <= len(set(map(str, handles))) <= MAX_BLEND:
        raise ValueError(f"a blend takes 1 to {MAX_BLEND} people, not {len(handles)}")
    blend = sorted({str(handle) for handle in handles})
    if len(bot_name(blend)) > MAX_BOT_NAME:
        raise ValueError(f"the name of a blend, {bot_name(blend)[:40]}…, is over {MAX_BOT_NAME} characters")
    return blend


def load(path: str | Path, settings: list[str] | None = None) -> Fleet:
    """Reads and validates a fleet file. `settings` are values of `--set`, for instance "train.epochs=2".

    Raises UsageError naming the file, the key and the reason.
    """
    path = Path(path)
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"{path}: no such fleet file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: cannot be read: {error}") from None
    except (yaml.YAMLError, ValueError) as error:  # ValueError: an impossible date, for instance 2020-13-45
        raise UsageError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(data, dict):
        raise UsageError(f"{path}: a fleet file is a mapping of keys such as `fleet:` and `tweets:`")
    return of_keys(data, path.resolve().parent, settings, str(path))


def of_keys(data: dict[str, Any], folder: Path, settings: list[str] | None = None, source: str = "fleet") -> Fleet:
    """The fleet of these keys of a fleet file; relative paths are relative to `folder`, and errors name `source`.

    `settings` are as in `load`. Raises UsageError naming the key and the reason.
    """
    data = copy.deepcopy(data)
    for setting in settings or []:
        _set(data, setting)
    try:
        # a section without content (`train:` and nothing under it) means its defaults
        fleet = Fleet.model_validate({key: value for key, value in data.items() if value is not None})
    except ValidationError as error:
        raise UsageError(f"{source}: {explain(error)}") from None
    try:
        return _anchored(fleet, folder)
    except RuntimeError as error:  # ~name of an unknown user
        raise UsageError(f"{source}: a path that starts with ~: {error}") from None


def _set(data: dict[str, Any], setting: str) -> None:
    """Applies one `--set key.subkey=value` to the data of a fleet file; the value is YAML."""
    key, equals, value = setting.partition("=")
    if not equals or not all(key.split(".")):
        raise UsageError(f"--set {setting}: write it as key=value, for instance train.epochs=2")
    *parents, last = key.split(".")
    for parent in parents:
        child = data[parent] = data.get(parent) or {}
        if not isinstance(child, dict):
            raise UsageError(f"--set {setting}: {parent} is not a section")
        data = child
    try:
        data[last] = yaml.safe_load(value)
    except (yaml.YAMLError, ValueError):
        raise UsageError(f"--set {setting}: {value!r} is not a YAML value") from None


def _anchored(fleet: Fleet, folder: Path) -> Fleet:
    """Returns the fleet with absolute paths; relative ones are relative to the fleet file's folder."""

    def absolute(path: str) -> str:
        return path if "://" in path else str(folder / Path(path).expanduser())

    tweets = [
        source.model_copy(update={"path": absolute(source.path), "users": source.users and absolute(source.users)})
        for source in fleet.tweets
    ]
    base = fleet.base_model
    if base.startswith((".", "~", "/")) or (folder / base).is_dir():
        base = absolute(base)
    pretrain = fleet.pretrain.model_copy(update={"out": absolute(fleet.pretrain.out)})
    listed = fleet.evaluate.block_list
    evaluate = fleet.evaluate.model_copy(update={"block_list": absolute(listed) if listed else None})
    filters = fleet.filters
    if isinstance(filters.blocked_words, str):
        filters = filters.model_copy(update={"blocked_words": absolute(filters.blocked_words)})
    update = {"tweets": tweets, "storage": absolute(fleet.storage), "base_model": base, "pretrain": pretrain}
    keys_file = fleet.serve.keys_file
    served = fleet.serve.model_copy(update={"keys_file": absolute(keys_file) if keys_file else None})
    update |= {"evaluate": evaluate, "filters": filters, "serve": served}
    return fleet.model_copy(update=update)


def explain(error: ValidationError) -> str:
    """Returns a validation error as one line of `key: reason`; an unknown key comes with the most similar known one."""
    problems = []
    for item in error.errors():
        location = [part for part in item["loc"] if part not in _UNION_TAGS]
        key = ".".join(map(str, location))
        if item["type"] == "extra_forbidden":
            known = _keys_at(location[:-1])
            if len(location) == 1 and (section := _section_with(key)):
                problems.append(f"{key}: unknown key; did you mean `{section}.{key}`?")
                continue
            near = difflib.get_close_matches(str(location[-1]), known, n=1, cutoff=0.5)
            hint = f"; did you mean `{near[0]}`?" if near else f"; known keys: {', '.join(known)}" if known else ""
            problems.append(f"{key}: unknown key{hint}")
        elif item["type"] == "missing":
            problems.append(f"{key}: missing; every fleet file needs it")
        else:
            reason = item["msg"].removeprefix("Value error, ")
            given = f" (given {item['input']!r})" if isinstance(item["input"], str | int | float) else ""
            problems.append(f"{key or 'fleet file'}: {reason}{given}")
    return "; ".join(dict.fromkeys(problems))


def _section_with(key: str) -> str | None:
    """Returns the section of the fleet file that has this key, `train` before others; None if none has it."""
    sections = sorted(Fleet.model_fields, key=lambda name: name != "train")
    return next((name for name in sections if key in _keys_at([name])), None)


def _keys_at(location: list[Any]) -> list[str]:
    """Returns the keys of the section at `location`."""
    section: Any = Fleet
    for part in location:
        if isinstance(part, int):
            continue
        annotation = section.model_fields[part].annotation
        section = next((kind for kind in (annotation, *get_args(annotation)) if _is_section(kind)), None)
        if section is None:
            return []
    return [field.alias or name for name, field in section.model_fields.items()]


def _is_section(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Section)
