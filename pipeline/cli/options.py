"""The program and the options that its commands share."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline.core.names import typed_bot_name

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Many people's tweets in, one talking bot per person out.",
)

FleetFile = Annotated[Path, typer.Argument(metavar="FLEET.yaml", help="the fleet file")]
BotsOption = Annotated[str | None, typer.Option("--bots", metavar="A,B", help="only these bots")]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="override a key of the fleet file")
]
JsonOption = Annotated[bool, typer.Option("--json", help="machine-readable on stdout")]
DebugOption = Annotated[bool, typer.Option("--debug", help="show the traceback of an error")]


def names_of(bots: str | None) -> list[str] | None:
    """The bots of a `--bots` option by name; what is no bot's name stays as it was typed, to be refused by name."""
    if bots is None:
        return None
    return [typed_bot_name(name) or name.strip() for name in bots.split(",") if name.strip()]


def say_json(value: Any) -> None:
    print(json.dumps(value, ensure_ascii=False), file=sys.__stdout__, flush=True)
