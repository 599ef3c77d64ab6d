"""Who is behind an account's id: what the file itself has told, else a users table beside it.

Tweets saved with `trim_user` name only the id. The table is any file of accounts that the readers understand (a
CSV with `id` and `screen_name`, JSON users); `{path: …, users: …}` names it, else it is looked for beside the
tweets, where it is called something with users, profiles or accounts.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import replace

from pyarrow import fs

from pipeline.tweets.files import TweetFile
from pipeline.tweets.record import Part, Profile, Reject, Row

_NAMED = re.compile(r"(user|profile|account)s?[^/]*\.(csv|tsv|jsonl?|ndjson)(\.gz|\.zst)?$", re.IGNORECASE)


class Users:
    def __init__(self, file: TweetFile, read: Callable[[TweetFile], Iterator[Row | Reject | Profile | Part]]):
        """`read` reads a file of accounts; formats.py passes its own reader in, since the two need each other."""
        self._file, self._read = file, read
        self._handles: dict[str, str] = {}  # by id
        self._profiles: dict[str, Profile] = {}  # by handle
        self._looked = False

    def known(self, handle: str) -> Profile | None:
        return self._profiles.get(handle)

    def add(self, profile: Profile) -> None:
        self._profiles[profile.handle] = profile
        if profile.id:
            self._handles[profile.id] = profile.handle

    def handle(self, id: str | None) -> str | None:
        if id is None:
            return None
        if id not in self._handles and not self._looked:
            self._looked = True
            for profile in self._beside():
                if profile.id:
                    self._handles.setdefault(profile.id, profile.handle)
        return self._handles.get(id)

    def _beside(self) -> Iterator[Profile]:
        file = self._file
        if file.users:
            paths = [file.users]
        else:
            selector = fs.FileSelector(file.path.rpartition("/")[0])
            infos = file.filesystem.get_file_info(selector)
            paths = sorted(info.path for info in infos if _NAMED.search(info.path) and info.path != file.path)
        for path in paths:
            for item in self._read(replace(file, path=path, columns={}, users=None)):
                if isinstance(item, Profile):
                    yield item
                elif file.users:
                    reason = item.reason if isinstance(item, Reject) else "it holds tweets"
                    raise ValueError(f"users: {path} is no table of accounts: {reason}")
                else:
                    break  # it holds tweets, or nothing of use
