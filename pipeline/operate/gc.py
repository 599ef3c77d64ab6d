"""What may leave the store: versions that nobody serves any more, and drafts of killed writers.

    huggingtweets gc fleet.yaml --json

A bot keeps the version in use and those that an endpoint still answers from. Whatever was written within
the last hour stays too: it may be a driver's that is about to publish it.
"""

import re
import time
from dataclasses import asdict, dataclass
from typing import Any

from pyarrow import fs

from pipeline.core.fleet import Fleet
from pipeline.core.names import is_bot_name
from pipeline.core.store import Store
from pipeline.operate.status import served

GRACE_SECONDS = 3600.0
_DRAFT = re.compile(r"\..+\.[0-9a-f]{32}")


@dataclass
class Removed:
    path: str  # in the store
    bytes: int


def gc(fleet: Fleet, grace: float = GRACE_SECONDS) -> list[dict[str, Any]]:
    """Removes old versions, trained models of versions long published, and drafts; returns what went."""
    store = Store.of(fleet)
    in_use = served(fleet)
    before = time.time() - grace
    gone: list[Removed] = []
    for bot in store.list("bots"):
        kept = {store.current_version(bot), in_use.get(bot)}
        if not is_bot_name(bot) or kept == {None}:
            continue  # nothing is published yet: whatever is there may be about to be
        old = [name for name in store.versions(bot) if name not in kept]
        gone += _remove(store, [f"bots/{bot}/{name}" for name in old], before)
    gone += _remove(store, _drafts(store), before)
    return [asdict(one) for one in gone]


def _remove(store: Store, paths: list[str], before: float) -> list[Removed]:
    """Deletes those of the files and folders that nobody has written to since `before` (seconds since the epoch)."""
    gone = []
    for path in paths:
        files = _files(store, path)
        if all((info.mtime_ns or 0) / 1e9 < before for info in files):
            store.delete(path)
            gone.append(Removed(path, sum(info.size or 0 for info in files)))
    return gone


def _files(store: Store, path: str) -> list[fs.FileInfo]:
    info = store.filesystem.get_file_info(store.path(path))
    if info.type == fs.FileType.File:
        return [info]
    infos = store.filesystem.get_file_info(fs.FileSelector(store.path(path), recursive=True, allow_not_found=True))
    return [info for info in infos if info.type == fs.FileType.File]


def _drafts(store: Store) -> list[str]:
    """Half-written files and folders: on disk they stand beside their target under a name of their own."""
    if not store.local:
        return []  # an object store shows nothing before it is whole
    infos = store.filesystem.get_file_info(fs.FileSelector(store.root, recursive=True, allow_not_found=True))
    return sorted(info.path[len(store.root) + 1 :] for info in infos if _DRAFT.fullmatch(info.base_name))
