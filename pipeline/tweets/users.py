"""Resolves account ids to handles, from the file itself or from a table of users.

Tweets saved with `trim_user` hold only the id of their author. A table of users is any file of accounts that the
readers understand: a CSV with `id` and `screen_name`, JSON users, or `{"users": […]}`. The fleet file names it with
`{path: …, users: …}`. Without that entry, `Users` searches the folder of the tweets for files with user, profile or
account in their name, and for JSON files that begin with `{"users":`.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from pyarrow import fs

from pipeline.tweets.files import TweetFile, hidden
from pipeline.tweets.record import Profile, Reject

_TABLE_NAME = re.compile(
    r"(user|profile|account)s?[^/]*\.(csv|tsv|jsonl?|ndjson|parquet)(\.(gz|zst|bz2|xz))?$", re.IGNORECASE
)
_JSON = re.compile(r"\.(json|jsonl|ndjson)$", re.IGNORECASE)
_TABLE_START = re.compile(rb'\s*\{\s*"users"\s*:')
_MOST = 2_000  # JSON files beside the tweets whose first bytes are checked


class Users:
    """The accounts of one file: their handles by id, and their profiles by handle."""

    def __init__(self, file: TweetFile, read: Callable[..., Iterator[Any]], look: bool = True):
        """`read(file, look)` reads any file; formats.py passes its own reader, which avoids a circular import.

        With `look=False` only accounts passed to `add` are known: `handle` neither reads the file again nor searches
        for tables.
        """
        self._file, self._read = file, read
        self._handles: dict[str, str] = {}  # by id
        self._profiles: dict[str, Profile] = {}  # by handle
        self._looked = not look
        self.read = read if look else None  # for readers that need a second pass over the file

    def known(self, handle: str) -> Profile | None:
        """Returns the profile of an account that `add` has stored, or None."""
        return self._profiles.get(handle)

    def add(self, profile: Profile) -> None:
        """Stores the profile of an account, and its handle under its id."""
        self._profiles[profile.handle] = profile
        if profile.id:
            self._handles[profile.id] = profile.handle

    def handle(self, id: str | None) -> str | None:
        """Returns the handle of the account with this id, or None if it is unknown.

        The first unknown id makes it read the whole file and the tables of users. Raises ValueError if the table that
        the fleet file names is not a table of accounts.
        """
        if id is None:
            return None
        if id not in self._handles and not self._looked:
            self._looked = True
            for known, handle in self._elsewhere().items():
                self._handles.setdefault(known, handle)
        return self._handles.get(id)

    def _elsewhere(self) -> dict[str, str]:
        """Handles by id: of the accounts in the whole file and in the tables of users."""
        file = self._file
        found = _accounts(file, self._read)
        if not file.users:
            return _beside(file, self._read) | found
        tables = self._read(replace(file, path=file.users, columns={}, users=None), False)
        items = [item for item in tables if isinstance(item, Profile | Reject) or type(item) is tuple]
        if not any(isinstance(item, Profile) for item in items):
            reason = next((item.reason for item in items if isinstance(item, Reject)), "it holds tweets")
            raise ValueError(f"users: {file.users} is no table of accounts: {reason}")
        return found | {item.id: item.handle for item in items if isinstance(item, Profile) and item.id}


def _accounts(file: TweetFile, read: Callable[..., Iterator[Any]]) -> dict[str, str]:
    """Handles by id of the accounts in one file."""
    items = read(replace(file, users=None), False)
    return {item.id: item.handle for item in items if isinstance(item, Profile) and item.id}


def _tables(file: TweetFile) -> list[fs.FileInfo]:
    """The files in the folder of the tweets that may be tables of users."""
    folder = fs.FileSelector(file.path.rpartition("/")[0], allow_not_found=True)
    infos = [one for one in file.filesystem.get_file_info(folder) if one.type == fs.FileType.File]
    named = [one for one in infos if _TABLE_NAME.search(one.path) and not hidden(one.base_name)]
    others = [one for one in infos if one not in named and _JSON.search(one.path)][:_MOST]
    found = [*named, *(one for one in others if _begins_with_users(file.filesystem, one.path))]
    return sorted(found, key=lambda one: one.path)


def _begins_with_users(filesystem: fs.FileSystem, path: str) -> bool:
    try:
        with filesystem.open_input_file(path) as file:
            return _TABLE_START.match(bytes(file.read(200))) is not None
    except OSError:
        return False


def _beside(file: TweetFile, read: Callable[..., Iterator[Any]]) -> dict[str, str]:
    """Handles by id from the tables beside a file, cached for the next file of the same folder."""
    tables = _tables(file)
    key = (file.filesystem.type_name, file.archive, *((one.path, one.size, one.mtime_ns) for one in tables))
    if key not in _remembered:
        found: dict[str, str] = {}
        for one in tables:
            found |= _accounts(replace(file, path=one.path, columns={}, size=one.size or 0), read)
        _remembered.clear()
        _remembered[key] = found
    return _remembered[key]


_remembered: dict[tuple[Any, ...], dict[str, str]] = {}
