"""Who is behind an account's id: what the file itself says, else a users table beside it.

Tweets saved with `trim_user` name only the id. The table is any file of accounts that the readers understand (a
CSV with `id` and `screen_name`, JSON users, `{"users": […]}`); `{path: …, users: …}` names it, else it is looked for
beside the tweets: in files that are called something with users, profiles or accounts, and in those that begin
with `{"users":`.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from pyarrow import fs

from pipeline.tweets.files import TweetFile, hidden
from pipeline.tweets.record import Profile, Reject

_NAMED = re.compile(
    r"(user|profile|account)s?[^/]*\.(csv|tsv|jsonl?|ndjson|parquet)(\.(gz|zst|bz2|xz))?$", re.IGNORECASE
)
_JSON = re.compile(r"\.(json|jsonl|ndjson)$", re.IGNORECASE)
_TABLE = re.compile(rb'\s*\{\s*"users"\s*:')
_MOST = 2_000  # files beside the tweets that are looked into


class Users:
    def __init__(self, file: TweetFile, read: Callable[..., Iterator[Any]], look: bool = True):
        """`read` reads a file of accounts; formats.py passes its own reader in, since the two need each other.

        Without `look` only what `add` brought is known: so the file is read for its accounts alone.
        """
        self._file, self._read = file, read
        self._handles: dict[str, str] = {}  # by id
        self._profiles: dict[str, Profile] = {}  # by handle
        self._looked = not look
        self.read = read if look else None  # for those who take a second look at the file

    def known(self, handle: str) -> Profile | None:
        """What the file has said of an account."""
        return self._profiles.get(handle)

    def add(self, profile: Profile) -> None:
        """Takes in what the file says of an account."""
        self._profiles[profile.handle] = profile
        if profile.id:
            self._handles[profile.id] = profile.handle

    def handle(self, id: str | None) -> str | None:
        """The handle of the account with this id. Raises ValueError where the named users table is none."""
        if id is None:
            return None
        if id not in self._handles and not self._looked:
            self._looked = True
            for known, handle in self._elsewhere().items():
                self._handles.setdefault(known, handle)
        return self._handles.get(id)

    def _elsewhere(self) -> dict[str, str]:
        """The accounts that come later in the file, and those of the tables."""
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
    items = read(replace(file, users=None), False)
    return {item.id: item.handle for item in items if isinstance(item, Profile) and item.id}


def _tables(file: TweetFile) -> list[fs.FileInfo]:
    """The files beside the tweets that may be tables of users."""
    folder = fs.FileSelector(file.path.rpartition("/")[0], allow_not_found=True)
    infos = [one for one in file.filesystem.get_file_info(folder) if one.type == fs.FileType.File]
    named = [one for one in infos if _NAMED.search(one.path) and not hidden(one.base_name)]
    others = [one for one in infos if one not in named and _JSON.search(one.path)][:_MOST]
    found = [*named, *(one for one in others if _begins_with_users(file.filesystem, one.path))]
    return sorted(found, key=lambda one: one.path)


def _begins_with_users(filesystem: fs.FileSystem, path: str) -> bool:
    try:
        with filesystem.open_input_file(path) as file:
            return _TABLE.match(bytes(file.read(200))) is not None
    except OSError:
        return False


def _beside(file: TweetFile, read: Callable[..., Iterator[Any]]) -> dict[str, str]:
    """The accounts of the tables beside a file; the last folder's are remembered, for its next file."""
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
