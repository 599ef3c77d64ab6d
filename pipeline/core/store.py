"""Where things live: a fleet's folder, on disk or in an object store, through pyarrow's file systems.

    store = Store.of(fleet)
    store.write("report.json", b"{}")      # appears whole or not at all
    store.read("bots/nasa/current")

Every path is relative to `{storage}/{fleet}`. A store is small and picklable: Ray tasks carry it along.
"""

import json
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pyarrow import fs

from pipeline.core.errors import UserError
from pipeline.core.fleet import Fleet

T = TypeVar("T")
_TRIES = 9  # with pauses that double up to 10 s: a store that is gone for half a minute is waited for
_FINAL = ("ACCESS_DENIED", "NO_SUCH_BUCKET", "INVALID_ACCESS_KEY", "SIGNATURE_DOES_NOT_MATCH", "Access Denied")


@dataclass(frozen=True)
class Store:
    filesystem: fs.FileSystem
    root: str

    @classmethod
    def of(cls, fleet: Fleet) -> "Store":
        filesystem, root = resolve(fleet.storage)
        return cls(filesystem, f"{root}/{fleet.fleet}")

    @property
    def fleet(self) -> str:
        return self.root.rpartition("/")[2]

    def path(self, name: str) -> str:
        return f"{self.root}/{name}"

    def read(self, name: str) -> bytes:
        """The bytes of a file. Raises FileNotFoundError."""

        def read() -> bytes:
            with self.filesystem.open_input_file(self.path(name)) as file:
                return file.read()

        return self._retried(read)

    def write(self, name: str, data: bytes) -> None:
        """Writes a file in one step: a reader sees the old one or the new one, never a half.

        Raises OSError naming the file, for instance when the disk is full.
        """
        path = self.path(name)
        try:
            if self.local:
                self._replace(path, data)
            else:
                self._retried(lambda: self._put(path, data))
        except OSError as error:
            raise OSError(f"{path}: cannot be written: {' '.join(str(error).split())}") from error

    def _put(self, path: str, data: bytes) -> None:
        with self.filesystem.open_output_stream(path) as file:  # an object store's put is atomic
            file.write(data)

    def _retried(self, work: Callable[[], T]) -> T:
        """Tries again what a remote store failed to do in passing: throttled, unreachable, cut off."""
        for attempt in range(1, _TRIES + 1):
            try:
                return work()
            except FileNotFoundError:
                raise
            except OSError as error:
                final = self.local or any(word in str(error) for word in _FINAL)
                if final or attempt == _TRIES:
                    raise
                time.sleep(min(0.2 * 2**attempt, 10))
        raise AssertionError("the last try returns or raises")

    @property
    def local(self) -> bool:
        return isinstance(self.filesystem, fs.LocalFileSystem)

    def _replace(self, path: str, data: bytes) -> None:
        parent, _, base = path.rpartition("/")
        self.filesystem.create_dir(parent, recursive=True)
        draft = f"{parent}/.{base}.{uuid.uuid4().hex}"
        try:
            with self.filesystem.open_output_stream(draft) as file:
                file.write(data)
            self.filesystem.move(draft, path)
        except BaseException:
            Path(draft).unlink(missing_ok=True)
            raise

    def write_folder(self, name: str, files: dict[str, bytes]) -> None:
        """Writes a folder of files; on disk it appears whole, by one rename.

        In an object store the files appear one by one: whoever points to the folder does so afterwards.
        """
        if not self.local:
            for file, data in files.items():
                self.write(f"{name}/{file}", data)
            return
        parent, slash, base = name.rpartition("/")
        draft = f"{parent}{slash}.{base}.{uuid.uuid4().hex}"
        try:
            for file, data in files.items():
                self.write(f"{draft}/{file}", data)
            self.delete(name)
            self.filesystem.move(self.path(draft), self.path(name))
        finally:
            self.delete(draft)

    def exists(self, name: str) -> bool:
        return self._type(name) != fs.FileType.NotFound

    def _type(self, name: str) -> fs.FileType:
        return self._retried(lambda: self.filesystem.get_file_info(self.path(name))).type

    def list(self, name: str) -> list[str]:
        """The names directly in a folder, sorted; drafts left out; empty where there is no folder."""
        selector = fs.FileSelector(self.path(name), allow_not_found=True)
        names = (info.base_name for info in self._retried(lambda: self.filesystem.get_file_info(selector)))
        return sorted(name for name in names if not name.startswith("."))

    def delete(self, name: str) -> None:
        """Deletes a file or a folder, if it is there."""
        kind = self._type(name)
        if kind == fs.FileType.Directory:
            self._retried(lambda: self.filesystem.delete_dir(self.path(name)))
        elif kind == fs.FileType.File:
            self._retried(lambda: self.filesystem.delete_file(self.path(name)))

    def fetch(self, name: str, folder: Path) -> Path:
        """A local folder with the files of the store's folder `name`: itself where the store is local."""
        if self.local:
            return Path(self.path(name))
        folder.mkdir(parents=True, exist_ok=True)
        for file in self.list(name):
            (folder / file).write_bytes(self.read(f"{name}/{file}"))
        return folder

    def check_writable(self) -> None:
        """Raises UserError where nothing can be written, before hours of work find out."""
        probe = f"work/.probe-{uuid.uuid4().hex}"
        try:
            self.write(probe, b"probe")
            self.delete(probe)
        except OSError as error:
            raise UserError(f"storage {self.root}: cannot be written: {error.__cause__ or error}") from None


def resolve(uri: str) -> tuple[fs.FileSystem, str]:
    """A file system and a path in it, for a local path or a URI such as s3://bucket/path.

    Raises UserError for a scheme nobody knows or a store that cannot be reached.
    """
    if "://" not in uri:
        return fs.LocalFileSystem(), str(Path(uri).expanduser().absolute())
    try:
        return fs.FileSystem.from_uri(uri)
    except (OSError, ValueError) as error:
        raise UserError(f"{uri}: no such storage: {error}") from None


def write_folder_at(uri: str, files: dict[str, bytes]) -> None:
    """Writes a folder anywhere, outside a fleet's store too, as `Store.write_folder` does inside it."""
    filesystem, path = resolve(uri)
    parent, _, name = path.rpartition("/")
    Store(filesystem, parent).write_folder(name, files)


def current(store: Store, bot: str) -> str | None:
    """The version of a bot in use, or None."""
    try:
        return store.read(f"bots/{bot}/current").decode().strip()
    except FileNotFoundError:
        return None


def read_json(store: Store, name: str) -> dict[str, Any]:
    try:
        return json.loads(store.read(name))
    except (FileNotFoundError, ValueError):
        return {}
