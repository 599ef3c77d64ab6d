"""Removes from the store what nothing uses any more: what `huggingtweets gc fleet.yaml` does.

    collection = gc(fleet, grace=3600.0)
    collection.removed, collection.kept_by_grace

A bot keeps the version in use and the versions that an endpoint still serves. Anything written within the grace
period stays, too: a run may be about to publish it.
"""

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from pyarrow import fs

from pipeline.core import manifest
from pipeline.core.fleet import Fleet
from pipeline.core.lease import held
from pipeline.core.store import Store
from pipeline.operate.status import served

_DRAFT = re.compile(r"\..+\.[0-9a-f]{32}")  # what Store writes before it renames


@dataclass(frozen=True)
class Unused:
    """A version's folder or a draft that nothing uses; `bytes` counts all files below it."""

    path: str  # in the store
    bytes: int


@dataclass
class Collection:
    """What one call removed, and what it would have removed had it been older."""

    removed: list[Unused] = field(default_factory=list)
    kept_by_grace: list[Unused] = field(default_factory=list)


def gc(fleet: Fleet, grace: float, wait: bool = False, say: Callable[[str], None] = lambda line: None) -> Collection:
    """Deletes old versions and the drafts of killed writers, if nothing in them changed for `grace` seconds.

    Raises UserError if another command works on the fleet and `wait` is false; `say` reports that it waits.
    """
    store = Store.of(fleet)
    with held(store, "gc", wait, say) as lease:
        collection, gone = Collection(), dict[str, list[str]]()
        for bot, version in _unused_versions(store, served(fleet)):
            if _collect(store, f"bots/{bot}/{version}", grace, collection):
                gone.setdefault(bot, []).append(version)
        if gone:
            manifest.Writer(store, lease.check).removed(gone)
        for path in drafts(store):
            _collect(store, path, grace, collection)
        return collection


def _unused_versions(store: Store, served_versions: dict[str, str]) -> Iterator[tuple[str, str]]:
    """The bots and versions that are neither in use nor served. Bots of which none is published are left alone."""
    found = manifest.unused_versions(store)
    for (bot, versions), current in zip(found.items(), store.map(store.current_version, found), strict=True):
        kept = {current, served_versions.get(bot)}
        yield from ((bot, version) for version in versions if current and version not in kept)


def _collect(store: Store, path: str, grace: float, collection: Collection) -> bool:
    """Deletes what nothing uses if it is old enough; returns whether it is gone."""
    files = _files(store, path)
    unused = Unused(path, sum(info.size or 0 for info in files))
    if not _unchanged(files, grace):
        collection.kept_by_grace.append(unused)
        return False
    if files or store.local:
        store.delete(path)
        collection.removed.append(unused)
    return True


def unchanged_for(store: Store, path: str, seconds: float) -> bool:
    """Whether no file of this folder, or this file itself, was changed for so many seconds."""
    return _unchanged(_files(store, path), seconds)


def _unchanged(files: list[fs.FileInfo], seconds: float) -> bool:
    return all((info.mtime_ns or 0) / 1e9 < time.time() - seconds for info in files)


def _files(store: Store, path: str) -> list[fs.FileInfo]:
    """All files of a folder, or the file itself."""
    info = store.filesystem.get_file_info(store.path(path))
    if info.type == fs.FileType.File:
        return [info]
    infos = store.filesystem.get_file_info(fs.FileSelector(store.path(path), recursive=True, allow_not_found=True))
    return [info for info in infos if info.type == fs.FileType.File]


def drafts(store: Store) -> list[str]:
    """The paths of half-written files and folders; only a local disk has them, beside their targets."""
    if not store.local:
        return []
    infos = store.filesystem.get_file_info(fs.FileSelector(store.root, recursive=True, allow_not_found=True))
    return sorted(info.path[len(store.root) + 1 :] for info in infos if _DRAFT.fullmatch(info.base_name))
