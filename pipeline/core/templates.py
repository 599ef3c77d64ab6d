"""Rendering of Jinja templates: Markdown cards as plain text, HTML pages with all values escaped.

render(ASSETS / "card.md.j2", bot="nasa")           # str
"""

from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined, Template


def render(template: Path, **values: Any) -> str:
    """Returns the rendered template, ending in one newline.

    Values are escaped in templates named *.html.j2, unless they are `markupsafe.Markup`. Raises
    jinja2.UndefinedError if the template uses a value that is not given.
    """
    return _compiled(template).render(**values).rstrip() + "\n"


@cache
def _compiled(template: Path) -> Template:
    environment = Environment(
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=template.name.endswith(".html.j2")
    )
    return environment.from_string(template.read_text(encoding="utf-8"))
