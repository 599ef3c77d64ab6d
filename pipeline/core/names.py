"""Names: handles, bots and fleets. Nothing else from outside reaches a path, a URL or a log line.

handle_of("@NASA"), bot_name(["nasa", "billnye"])       # "nasa", "billnye-nasa"
"""

import re

from pipeline.core.errors import UsageError

HANDLE = re.compile(r"[a-z0-9_]{1,15}")
FLEET_NAME = re.compile(r"[a-z0-9_-]{1,63}")
MAX_BLEND = 10  # people in one blend


def handle_of(text: str) -> str | None:
    """The handle in `text` in the form we keep it (lower case, no @), or None where it is not one."""
    handle = text.strip().removeprefix("@")
    # the Kelvin sign, for one, is an ASCII letter once it is lower-cased
    return handle.lower() if handle.isascii() and HANDLE.fullmatch(handle.lower()) else None


def bot_name(handles: list[str]) -> str:
    """A bot's name: its handle, or a blend's sorted handles joined with "-"."""
    return "-".join(sorted(handles))


def is_bot_name(name: str) -> bool:
    """Whether `name` can be a bot's: handles, sorted, without repeats, joined with "-"."""
    handles = name.split("-")
    return (
        len(handles) <= MAX_BLEND
        and all(HANDLE.fullmatch(handle) for handle in handles)
        and handles == sorted(set(handles))
    )


def named(text: str) -> str:
    """A bot's name as somebody typed it. Raises UsageError for what cannot be one."""
    name = text.strip().removeprefix("@").lower()
    if not is_bot_name(name):
        raise UsageError(f"{text[:60]!r} is not a bot's name")
    return name


def printable(name: str) -> str:
    """A name from outside, fit for a message."""
    return name if is_bot_name(name) else repr(name[:60])
