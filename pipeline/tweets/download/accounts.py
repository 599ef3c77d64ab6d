"""Finds the network of an account from the form of its name.

parse_account("@nasa").network                  # "x"
parse_account("ada.bsky.social").handle         # "ada_bsky_social"
parse_account("@ada@ferry.example").network     # "mastodon"
"""

import re
from dataclasses import dataclass
from typing import Literal

from pipeline.core.errors import UsageError
from pipeline.core.names import handle_of

Network = Literal["x", "bluesky", "mastodon"]
# RFC 1035's letters, digits and hyphens between dots; the last label starts with a letter, so that no IP address fits
_DOMAIN = re.compile(r"(?=.{4,253}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z][a-z0-9-]*[a-z0-9]")
_MASTODON_USER = re.compile(r"[a-z0-9_]+([a-z0-9_.-]*[a-z0-9_]+)?")


@dataclass(frozen=True)
class Account:
    """An account to download."""

    network: Network
    name: str  # on its network, in lower case: "nasa", "ada.bsky.social", "ada@ferry.example"
    handle: str  # the person's handle in a fleet, and the name of the downloaded file


def parse_account(text: str) -> Account:
    """Returns the account that `text` names. Raises UsageError if it is not the name of an account.

    `nasa` and `@nasa` are on X; a domain name is a Bluesky account; `user@host` is on Mastodon, or on another server
    that speaks its API.
    """
    name = text.strip().removeprefix("@").lower()
    handle = handle_of(name)
    user, at, host = name.partition("@")
    if handle is not None:
        if at and _MASTODON_USER.fullmatch(user) and _DOMAIN.fullmatch(host):
            return Account("mastodon", name, handle)
        if _DOMAIN.fullmatch(name):
            return Account("bluesky", name, handle)
        if re.fullmatch(r"[a-z0-9_]{1,15}", name):
            return Account("x", name, handle)
    raise UsageError(
        f"{text[:60]!r} is no account: give nasa (X), ada.bsky.social (Bluesky) or @ada@ferry.example (Mastodon)"
    )


def parse_accounts(texts: list[str]) -> list[Account]:
    """Returns the accounts, each once, in the given order.

    Raises UsageError for an invalid name, and for two accounts that would be written to the same file.
    """
    accounts = list(dict.fromkeys(map(parse_account, texts)))
    by_handle: dict[str, Account] = {}
    for account in accounts:
        if (other := by_handle.setdefault(account.handle, account)) != account:
            raise UsageError(f"{account.name} and {other.name} would both be {account.handle}; fetch one at a time")
    return accounts
