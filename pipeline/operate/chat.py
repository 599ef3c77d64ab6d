"""Talks with a published bot in the terminal: what `huggingtweets chat FLEET.yaml BOT` does.

    chat(LocalBot.load(fleet, "nasa"), input, print)

A bot continues the text that it is given, as tweets do; it does not remember earlier lines.
"""

from collections.abc import Callable
from typing import Any

from pydantic import ValidationError

from pipeline.core.errors import UsageError
from pipeline.operate.generate import LocalBot
from serve.engine.parameters import Parameters
from serve.http.errors import explain

HELP = """\
Type the beginning of a tweet, and the bot continues it; an empty line lets it begin by itself.
  /again            another text for the same beginning
  /temperature 0.8  calmer below 1, wilder above
  /length 40        at most so many tokens for a text
  /quit             leave (or Ctrl-D)"""
_OPTIONS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "/temperature": ("temperature", float),
    "/length": ("max_new_tokens", int),
}


def chat(bot: LocalBot, read: Callable[[str], str], write: Callable[[str], None]) -> None:
    """Reads lines until /quit or the end of the input and writes what the bot answers.

    `read` is given the prompt to show, as `input` is.
    """
    write(f"{bot.name} is an AI bot. /help lists the commands.")
    parameters: dict[str, Any] = {}
    beginning = ""
    while True:
        try:
            line = read("> ").strip()
        except EOFError:
            return
        command, _, value = line.partition(" ")
        if command == "/quit":
            return
        try:
            if command in _OPTIONS:
                name, convert = _OPTIONS[command]
                parameters |= _checked(name, convert, value)
                continue
            if command.startswith("/") and command != "/again":
                write(HELP)
                continue
            beginning = beginning if command == "/again" else line
            [text] = bot.generate(beginning, **parameters)
            write(text)
        except UsageError as error:
            write(f"error: {error}")


def _checked(name: str, convert: Callable[[str], Any], value: str) -> dict[str, Any]:
    """The parameter, if it is valid. Raises UsageError."""
    try:
        parameter = {name: convert(value)}
        Parameters(**parameter)
    except ValidationError as error:
        raise UsageError(explain(error)) from None
    except ValueError:
        raise UsageError(f"{value!r} is not a number") from None
    return parameter
