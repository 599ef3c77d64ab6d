"""Bots' folders on a node's own disk: fetched from an object store once, checked, removed when others need the room.

    cache = Cache(store, budget=10_000_000_000)
    with cache.folder("nasa", "0123456789ab") as folder: Engine(folder)

All replicas of a node share it. Fetched files are checked against the folder's SHA256SUMS before they are loaded; files
that are already on the disk are checked once per process. A file that does not match is fetched once more, and refused
if it still does not match. A store on a disk is read in place, and checked in the same way.
"""

import fcntl
import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.core import checksums, logs
from pipeline.core.names import handles_of
from pipeline.core.store import Store

_FETCHES = 2  # of a file that is not what was published
_NOT_SERVED = {"README.md", "predictions.png", "stats.json", "profiles.json", "metrics.json", "provenance.json"}
Stamp = tuple[tuple[str, int, int], ...]  # name, size and time of change of each file


@dataclass(frozen=True)
class Cache:
    """`budget` is in bytes, for the whole node; the bot used last stays in any case."""

    store: Store
    budget: int
    parent: Path | None = None  # else the temporary folder of the node that loads
    _checked: dict[Path, Stamp] = field(default_factory=dict, compare=False, repr=False)

    @contextmanager
    def folder(self, bot: str, version: str) -> Iterator[Path]:
        """The files that a bot's engine loads, for the length of the block; files that it has mapped stay usable after.

        Raises ValueError if a file is not what was published, FileNotFoundError if there is no such bot.
        """
        source = f"bots/{bot}/{version}"
        if self.store.local:
            entry = Path(self.store.path(source))
            self._check(entry)
            yield entry
            return
        with _locked(self._root() / self._entry_name(bot, version)) as entry:
            if not self._sound(entry):
                self._fill(entry, source)
            os.utime(entry)  # used last
            yield entry

    def copies(self, handle: str) -> list[str]:
        """The names of this node's entries of the person's bots in this store, and of versions deleted there."""
        entries = [path.name.split(".") for path in self._root().iterdir() if path.name.count(".") == 2]
        return sorted(
            self._entry_name(bot, version)
            for bot, version, place in entries
            if f"{bot}.{version}.{place}" == self._entry_name(bot, version)
            and (handle in handles_of(bot) or not self.store.exists(f"bots/{bot}/{version}"))
        )

    def remove(self, handle: str) -> list[str]:
        """Deletes those entries, once nobody loads from them any more; returns their names."""
        names = self.copies(handle)
        for name in names:
            with _locked(self._root() / name) as entry:
                shutil.rmtree(entry)
        return names

    def _entry_name(self, bot: str, version: str) -> str:
        place = hashlib.sha256(self.store.path(f"bots/{bot}/{version}").encode()).hexdigest()[:12]
        return f"{bot}.{version}.{place}"  # two stores may hold the same bot

    def _check(self, entry: Path) -> None:
        """Checks a published folder if its files changed since the last check. Raises ValueError naming a bad file."""
        if self._checked.get(entry) != _stamp(entry):
            checksums.check(entry, unchecked=_NOT_SERVED)
            self._checked[entry] = _stamp(entry)

    def _root(self) -> Path:
        """The cache's folder, which nobody else may have prepared: models are loaded from it."""
        root = (self.parent or Path(tempfile.gettempdir())) / f"huggingtweets-cache-{os.getuid()}"
        root.mkdir(mode=0o700, exist_ok=True)
        status = root.lstat()
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o022:
            raise PermissionError(f"{root}: others can write there; remove it")
        return root

    def _sound(self, entry: Path) -> bool:
        """Whether the entry is whole and, as far as this process knows, what was published."""
        if not (entry / checksums.FILE).exists():  # written last
            return False
        try:
            self._check(entry)
        except ValueError as error:
            bot, version, _ = entry.name.split(".")
            logs.log(fleet=self.store.fleet, bot=bot, version=version).warning("%s: fetched again", error)
            return False
        return True

    def _fill(self, entry: Path, source: str) -> None:
        files = self._fetch(source)
        self._make_room(entry, sum(map(len, files.values())))
        for old in entry.iterdir():
            old.unlink()
        for name, data in files.items():
            (entry / name).write_bytes(data)
        self._checked[entry] = _stamp(entry)

    def _fetch(self, source: str) -> dict[str, bytes]:
        """The folder's files, the checksums last. A bot that was published before there were any is taken as it is."""
        names = [name for name in self.store.list(source) if name not in _NOT_SERVED]
        if not names:
            raise FileNotFoundError(f"{self.store.path(source)}: no such bot in the store")
        sums = self.store.read(f"{source}/{checksums.FILE}") if checksums.FILE in names else b""
        listed = checksums.parse(sums)
        missing = sorted(set(listed) - _NOT_SERVED - set(names))
        if missing:
            raise ValueError(f"{self.store.path(source)}: {missing[0]} is not in the store")
        files = {name: self._read(source, name, listed.get(name)) for name in names if name != checksums.FILE}
        return files | {checksums.FILE: sums}

    def _read(self, source: str, name: str, digest: str | None) -> bytes:
        for _ in range(_FETCHES):
            data = self.store.read(f"{source}/{name}")
            found = hashlib.sha256(data).hexdigest()
            if digest in (None, found):
                return data
            _, bot, version = source.split("/")
            about = logs.log(fleet=self.store.fleet, bot=bot, version=version)
            about.warning("%s is not what was published", name)
        raise ValueError(checksums.mismatch(f"{self.store.path(source)}/{name}", found, digest or ""))

    def _make_room(self, new: Path, size: int) -> None:
        """Deletes the entries that were used longest ago, until `size` more bytes fit."""
        entries = [(path.stat().st_mtime_ns, _size(path), path) for path in new.parent.iterdir() if path != new]
        total = size + sum(held for _, held, _ in entries)
        for _, held, path in sorted(entries):
            if total <= self.budget:
                return
            if _delete_unless_in_use(path):
                total -= held


@contextmanager
def _locked(entry: Path) -> Iterator[Path]:
    """The entry's folder, made where there is none, for one thread of one process alone."""
    while True:
        entry.mkdir(exist_ok=True)
        descriptor = os.open(entry, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if entry.exists() and os.path.samestat(os.fstat(descriptor), entry.stat()):  # else it was deleted meanwhile
                yield entry
                return
        finally:
            os.close(descriptor)


def _delete_unless_in_use(entry: Path) -> bool:
    """Deletes an entry, unless a bot is being loaded from it. Returns whether it is gone."""
    try:
        descriptor = os.open(entry, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(entry)
        return True
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)


def _stamp(entry: Path) -> Stamp:
    files = ((path.name, path.stat()) for path in sorted(entry.iterdir()))
    return tuple((name, status.st_size, status.st_mtime_ns) for name, status in files)


def _size(entry: Path) -> int:
    return sum(path.stat().st_size for path in entry.iterdir())
