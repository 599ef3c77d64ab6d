"""Command lines as a shell would read them, parsed by our own program: do the command and its options exist?

>>> problem("huggingtweets run fleet.yaml --set train.epochs=2")
''
>>> problem("huggingtweets trian fleet.yaml")
'no such command: trian'
"""

import shlex
from typing import Any

import typer

from pipeline import cli


def our_program() -> Any:
    """`huggingtweets` as a click group."""
    return typer.main.get_command(cli.app)


def our_words(command_line: str) -> list[str] | None:
    """The words after `huggingtweets` or `python -m pipeline`; None for another program's command line."""
    match shlex.split(command_line, comments=True):
        case ["huggingtweets", *rest] | ["python", "-m", "pipeline", *rest]:
            return rest
    return None


def problem(command_line: str) -> str:
    """Why our program would refuse a command line of its own; an empty string if it accepts it."""
    words = our_words(command_line)
    return f"not a command of ours: {command_line}" if words is None else refusal(our_program(), words)


def parameters(command_line: str) -> dict[str, Any]:
    """The values of a command's parameters. Raises click's usage error if our program refuses the line."""
    words = our_words(command_line)
    assert words, f"not a command of ours: {command_line}"
    commands = our_program().commands
    assert words[0] in commands, f"no such command: {words[0]}"
    return dict(commands[words[0]].make_context(words[0], words[1:]).params)


def refusal(program: Any, words: list[str]) -> str:
    """Why a click program would refuse these words; an empty string if it accepts them."""
    for name in list(words):
        commands = getattr(program, "commands", None)
        if commands is None:
            break
        if name not in commands:
            return f"no such command: {name}"
        program, words = commands[name], words[1:]
    if hasattr(program, "commands") or not words:  # the name of a command alone, as a sentence mentions it
        return ""
    try:
        program.make_context(program.name, words)
    except Exception as error:  # click's, and typer's own copies of them
        return getattr(error, "message", "") or str(error) or type(error).__name__
    return ""
