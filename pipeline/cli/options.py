"""What the commands share: arguments, options, and how they print results.

def status(fleet: FleetFile, bots: BotsOption = None, as_json: JsonOption = False) -> None: ...
"""

import json
import sys
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline.core.names import typed_bot_name

FleetFile = Annotated[Path, typer.Argument(metavar="FLEET.yaml", help="the fleet file")]
BotsOption = Annotated[str | None, typer.Option("--bots", metavar="A,B", help="only these bots")]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="override a key of the fleet file, e.g. train.epochs=2"),
]
WaitOption = Annotated[bool, typer.Option("--wait", help="wait until no other command works on the fleet")]
JsonOption = Annotated[bool, typer.Option("--json", help="print the result as JSON on stdout")]


def names_of(bots: str | None) -> list[str] | None:
    """The bot names in the value of --bots, or None without it. Invalid names are kept, for the error message."""
    if bots is None:
        return None
    return [typed_bot_name(name) or name.strip() for name in bots.split(",") if name.strip()]


def say(text: str) -> None:
    """Prints a line for people, on stderr: stdout has nothing but results."""
    print(text, file=sys.stderr)


def print_json(value: Any) -> None:
    """Prints the result of a command on one line of the process's real stdout; dataclasses become objects."""
    print(json.dumps(value, ensure_ascii=False, default=_fields), file=sys.__stdout__, flush=True)


def _fields(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    raise TypeError(f"{type(value).__name__} is not JSON")
