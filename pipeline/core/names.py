"""Names of people (handles), bots, versions and fleets: the only text from outside that reaches a path or a URL.

handle_of("@NASA")                      # "nasa"
handle_of("ada.bsky.social")            # "ada_bsky_social"
bot_name(["nasa", "billnye"])           # "billnye-nasa", a blend of two people
parse_bot_name("@NASA-BillNye")         # "billnye-nasa", as a user typed it
handles_of("billnye-nasa")              # ["billnye", "nasa"]
served_name("nasa", "large", True)      # "nasa@large", where the bots nasa of two fleets are served together
"""

import re

from pipeline.core.errors import UsageError

HANDLE = re.compile(r"[a-z0-9_]{1,63}")
FLEET_NAME = re.compile(r"[a-z0-9_-]{1,63}")
MAX_BLEND = 10  # people in one blend
MAX_BOT_NAME = 200  # characters
_VERSION = re.compile(r"[0-9a-f]{12}")
# an account elsewhere is named by a domain: ada.bsky.social on Bluesky, @ada@ferry.example on Mastodon
_DOMAIN = r"(?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?\.)+(?:[a-z]{2,}|xn--[a-z0-9-]+)"
_ELSEWHERE = re.compile(rf"(?:[a-z0-9_](?:[a-z0-9_.-]*[a-z0-9_])?@)?{_DOMAIN}")


def handle_of(text: str) -> str | None:
    """Returns the handle of the account that `text` names, or None if it names none.

    For an account of X it is the user name, in lower case and without @. For an account elsewhere it is the full
    name with "_" for each other character: "ada_bsky_social", "ada_ferry_example".
    """
    name = text.strip().removeprefix("@")
    # isascii: a few other letters become ASCII in lower case, for instance the Kelvin sign
    if not name.isascii():
        return None
    name = name.lower()
    if HANDLE.fullmatch(name):
        return name
    return re.sub(r"[^a-z0-9_]", "_", name) if len(name) <= 63 and _ELSEWHERE.fullmatch(name) else None


def not_a_handle(text: str) -> str:
    """Returns the error message that refuses `text` as a handle."""
    return f"{text[:60]!r} is not a handle (1-63 of a-z 0-9 _, or an account such as ada.bsky.social)"


def bot_name(handles: list[str]) -> str:
    """Returns a bot's name: its handle, or the sorted handles of a blend joined with "-"."""
    return "-".join(sorted(handles))


def handles_of(bot: str) -> list[str]:
    """Returns the handles in a bot's name, sorted: the inverse of `bot_name`."""
    return bot.split("-")


def is_bot_name(name: str) -> bool:
    """Whether `name` is a bot's name: 1 to 10 different handles, sorted, joined with "-"; at most 200 characters."""
    handles = handles_of(name)
    return (
        len(name) <= MAX_BOT_NAME
        and len(handles) <= MAX_BLEND
        and all(HANDLE.fullmatch(handle) for handle in handles)
        and handles == sorted(set(handles))
    )


def typed_bot_name(text: str) -> str | None:
    """Returns the bot's name in what a user typed, or None if it is not one.

    It is one account, or the accounts of a blend in any order and case: "@NASA-BillNye" is "billnye-nasa".
    """
    if len(text) > 2 * MAX_BOT_NAME:
        return None
    handle = handle_of(text)
    handles = [handle] if handle else [handle_of(part) for part in text.split("-")]
    name = bot_name([one for one in handles if one])
    return name if all(handles) and is_bot_name(name) else None


def parse_bot_name(text: str) -> str:
    """Returns the bot's name in what a user typed, as `typed_bot_name`. Raises UsageError if it is not one."""
    if (name := typed_bot_name(text)) is None:
        raise UsageError(not_a_bot_name(text))
    return name


def not_a_bot_name(text: str) -> str:
    """Returns the error message that refuses `text` as a bot's name."""
    return f"{text[:60]!r} is not a bot's name"


def served_name(bot: str, fleet: str, full: bool) -> str:
    """Returns the name under which a bot is served: its own, or `bot@fleet` where its fleet has `serve.full_names`."""
    return f"{bot}@{fleet}" if full else bot


def short_name(served: str) -> str:
    """Returns the bot's own name in the name under which it is served: "nasa" in "nasa@large"."""
    return served.partition("@")[0]


def typed_served_name(text: str) -> str | None:
    """Returns the bot's name in what a user typed, as `typed_bot_name`, or the full one: "@NASA@large" is "nasa@large".

    The name of a fleet has no dot, which tells it from the server in an account of Mastodon.
    """
    bot, _, fleet = text.rpartition("@")
    if bot.strip(" @") and fleet.isascii() and FLEET_NAME.fullmatch(fleet.lower()):
        name = typed_bot_name(bot)
        return served_name(name, fleet.lower(), full=True) if name else None
    return typed_bot_name(text)


def is_version(name: str) -> bool:
    """Whether `name` is the name of a bot's version: 12 hexadecimal digits."""
    return _VERSION.fullmatch(name) is not None


def printable(name: str) -> str:
    """Returns a name from outside in a form that is safe in messages: quoted and cut unless it is a bot's name."""
    return name if is_bot_name(name) else repr(name[:60])
