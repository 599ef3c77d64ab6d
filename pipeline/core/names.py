"""Names of people (handles), bots, versions and fleets: the only text from outside that reaches a path or a URL.

handle_of("@NASA")                      # "nasa"
bot_name(["nasa", "billnye"])           # "billnye-nasa", a blend of two people
handles_of("billnye-nasa")              # ["billnye", "nasa"]
"""

import re

from pipeline.core.errors import UsageError

HANDLE = re.compile(r"[a-z0-9_]{1,15}")
FLEET_NAME = re.compile(r"[a-z0-9_-]{1,63}")
MAX_BLEND = 10  # people in one blend
_VERSION = re.compile(r"[0-9a-f]{12}")


def handle_of(text: str) -> str | None:
    """Returns the handle in `text` in lower case and without @, or None if it is not a handle."""
    handle = text.strip().removeprefix("@")
    # isascii: a few other letters become ASCII in lower case, for instance the Kelvin sign
    return handle.lower() if handle.isascii() and HANDLE.fullmatch(handle.lower()) else None


def bot_name(handles: list[str]) -> str:
    """Returns a bot's name: its handle, or the sorted handles of a blend joined with "-"."""
    return "-".join(sorted(handles))


def handles_of(bot: str) -> list[str]:
    """Returns the handles in a bot's name, sorted: the inverse of `bot_name`."""
    return bot.split("-")


def is_bot_name(name: str) -> bool:
    """Whether `name` is a bot's name: 1 to 10 different handles, sorted, joined with "-"."""
    handles = handles_of(name)
    return (
        len(handles) <= MAX_BLEND
        and all(HANDLE.fullmatch(handle) for handle in handles)
        and handles == sorted(set(handles))
    )


def parse_bot_name(text: str) -> str:
    """Returns the bot's name in what a user typed, such as "@NASA". Raises UsageError if it is not one."""
    name = text.strip().removeprefix("@").lower()
    if not is_bot_name(name):
        raise UsageError(f"{text[:60]!r} is not a bot's name")
    return name


def is_version(name: str) -> bool:
    """Whether `name` is the name of a bot's version: 12 hexadecimal digits."""
    return _VERSION.fullmatch(name) is not None


def printable(name: str) -> str:
    """Returns a name from outside in a form that is safe in messages: quoted and cut unless it is a bot's name."""
    return name if is_bot_name(name) else repr(name[:60])
