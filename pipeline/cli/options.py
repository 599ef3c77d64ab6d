"""The program and the options that its commands share."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

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
    return (
        None if bots is None else [name.strip().removeprefix("@").lower() for name in bots.split(",") if name.strip()]
    )


def say_json(value: Any) -> None:
    print(json.dumps(value, ensure_ascii=False), file=sys.__stdout__, flush=True)
