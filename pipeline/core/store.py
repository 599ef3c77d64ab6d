"""The folder that holds a fleet's files, on disk or in an object store, reached through pyarrow's file systems.

    store = Store.of(fleet)
    store.write("report.json", b"{}")       # readers see the old file or the new one, never a part
    store.read_json("report.json")          # {}
    store.current_version("nasa")           # "0123456789ab", or None

Every path is relative to `{storage}/{fleet}`. A store is small and can be pickled, so Ray tasks carry it along.
"""

import errno
import json
import uuid
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
from pyarrow import fs
from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_exponential

from pipeline.core.errors import UsageError, UserError
from pipeline.core.fleet import Fleet
from pipeline.core.names import is_version

T = TypeVar("T")
Item = TypeVar("Item")
_AT_ONCE = 64  # requests to an object store
# nine tries, with waits from 0.4 s that double up to 10 s: bridges an outage of half a minute
_TRIES = stop_after_attempt(9)
_WAIT = wait_exponential(multiplier=0.4, max=10)
_OUTAGES = (errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EHOSTDOWN, errno.EHOSTUNREACH)  # of a network's disk
_PERMANENT = ("ACCESS_DENIED", "NO_SUCH_BUCKET", "INVALID_ACCESS_KEY", "SIGNATURE_DOES_NOT_MATCH", "Access Denied")


def resolve(uri: str) -> tuple[fs.FileSystem, str]:
    """Returns the file system and the path in it for a local path or a URI such as s3://bucket/path.

    Raises UserError for an unknown scheme or a store that cannot be reached.
    """
    if "://" not in uri:
        return fs.LocalFileSystem(), str(Path(uri).expanduser().absolute())
    pa.set_io_thread_count(_AT_ONCE)  # Arrow opens as many connections
    try:
        return fs.FileSystem.from_uri(uri)
    except (OSError, ValueError) as error:
        raise UserError(f"{uri}: no such storage: {error}") from None


def write_folder_at(uri: str, files: dict[str, bytes]) -> None:
    """Writes a folder at any path or URI, also outside a fleet's store; see `Store.write_folder`."""
    filesystem, path = resolve(uri)
    _check_lasting(path)
    parent, _, name = path.rpartition("/")
    Store(filesystem, parent).write_folder(name, files)


def _check_lasting(path: str) -> None:
    """Raises UsageError for a path in the temporary copy that Ray makes of a job's working directory."""
    if "working_dir_files" in Path(path).parts:
        raise UsageError(
            f"{path} is in Ray's temporary copy of the job's folder and would be deleted with it: start the job by "
            "`huggingtweets submit`, or use s3://…, gs://… or an absolute path on a disk that all nodes share"
        )


@dataclass(frozen=True)
class Store:
    """A folder of a file system; the names that its methods take are paths relative to it.

    Requests to a remote store that fail for a passing reason (throttling, lost connections) are tried again.
    """

    filesystem: fs.FileSystem
    root: str

    @classmethod
    def of(cls, fleet: Fleet) -> "Store":
        """The store of a fleet: `{storage}/{fleet}`.

        Raises UserError if `storage` cannot be reached, UsageError if Ray would delete it with the job.
        """
        filesystem, root = resolve(fleet.storage)
        _check_lasting(root)
        return cls(filesystem, f"{root}/{fleet.fleet}")

    @property
    def fleet(self) -> str:
        """The fleet's name: the last part of the path."""
        return self.root.rpartition("/")[2]

    @property
    def local(self) -> bool:
        """Whether the files lie on a disk of this machine."""
        return isinstance(self.filesystem, fs.LocalFileSystem)

    def path(self, name: str) -> str:
        """The full path of a file in the store's file system."""
        return f"{self.root}/{name}"

    def read(self, name: str) -> bytes:
        """Returns the content of a file. Raises FileNotFoundError."""

        def read() -> bytes:
            with self.filesystem.open_input_file(self.path(name)) as file:
                return file.read()

        return self._retry(read)

    def read_json(self, name: str) -> dict[str, Any]:
        """Returns the object in a JSON file; {} if the file or its folder is missing, or it holds anything else."""
        try:
            value = json.loads(self.read(name))
        except (FileNotFoundError, NotADirectoryError, ValueError):
            return {}
        return value if isinstance(value, dict) else {}

    def current_version(self, bot: str) -> str | None:
        """Returns the published version of a bot, or None if none is published.

        Anything but the name of a version counts as none: a path in its place could lead to another bot.
        """
        try:
            name = self.read(f"bots/{bot}/current").decode(errors="replace").strip()
        except (FileNotFoundError, NotADirectoryError):
            return None
        return name if is_version(name) else None

    def versions(self, bot: str) -> list[str]:
        """Returns the names of all versions in a bot's folder, sorted, the published one among them."""
        return [name for name in self.list(f"bots/{bot}") if is_version(name)]

    def write(self, name: str, data: bytes, secret: bool = False) -> None:
        """Writes a file in one step: a reader sees the old content or the new, never a part.

        A `secret` file on a disk can be read by its owner alone. Raises OSError naming the file, for instance when the
        disk is full.
        """
        path = self.path(name)
        try:
            if self.local:
                self._replace(path, data, secret)
            else:
                self._retry(lambda: self._put(path, data))
        except OSError as error:
            raise OSError(f"{path}: cannot be written: {' '.join(str(error).split())}") from error

    def write_folder(self, name: str, files: dict[str, bytes]) -> None:
        """Writes a folder of files, replacing the old folder; on disk it appears complete, by one rename.

        In an object store files of the old folder that the new one lacks are deleted first. Then the files appear one
        by one, in their order, so a reference to the folder must be written after it.
        """
        if not self.local:
            for file in self._files_below(name) - files.keys():
                self.delete(f"{name}/{file}")
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

    def map(self, read: Callable[[Item], T], items: Iterable[Item]) -> list[T]:
        """Calls `read`, which asks this store, for each item; returns the results in the items' order.

        An object store gets many requests at once. On a disk, threads would gain nothing.
        """
        if self.local:
            return [read(item) for item in items]
        with ThreadPoolExecutor(_AT_ONCE) as readers:
            return list(readers.map(read, items))

    def exists(self, name: str) -> bool:
        """Whether there is a file or a folder of this name."""
        return self._type(name) != fs.FileType.NotFound

    def list(self, name: str) -> list[str]:
        """Returns the names directly in a folder, sorted, without drafts; [] if there is no such folder."""
        selector = fs.FileSelector(self.path(name), allow_not_found=True)
        names = (info.base_name for info in self._retry(lambda: self.filesystem.get_file_info(selector)))
        return sorted(name for name in names if not name.startswith("."))

    def modified(self, name: str) -> dict[str, float]:
        """When each file directly in a folder was last written, in seconds by the store's clock; no drafts."""
        selector = fs.FileSelector(self.path(name), allow_not_found=True)
        infos = self._retry(lambda: self.filesystem.get_file_info(selector))
        return {info.base_name: (info.mtime_ns or 0) / 1e9 for info in infos if not info.base_name.startswith(".")}

    def delete(self, name: str) -> None:
        """Deletes a file or a folder, if it exists."""
        kind = self._type(name)
        if kind == fs.FileType.Directory:
            self._retry(lambda: self.filesystem.delete_dir(self.path(name)))
        elif kind == fs.FileType.File:
            self._retry(lambda: self.filesystem.delete_file(self.path(name)))

    def fetch(self, name: str, folder: Path) -> Path:
        """Returns a local folder with the files of the folder `name`: `folder`, or in a local store the files' own."""
        if self.local:
            return Path(self.path(name))
        folder.mkdir(parents=True, exist_ok=True)
        for file in self.list(name):
            (folder / file).write_bytes(self.read(f"{name}/{file}"))
        return folder

    def check_writable(self) -> None:
        """Writes and deletes a small file, to find out before hours of work. Raises UserError if that fails."""
        probe = f"work/.probe-{uuid.uuid4().hex}"
        try:
            self.write(probe, b"probe")
            self.delete(probe)
        except OSError as error:
            raise UserError(f"storage {self.root}: cannot be written: {error.__cause__ or error}") from None

    def is_outage(self, error: BaseException) -> bool:
        """Whether a request failed because the store cannot be reached for now, not because of what it asked."""
        cause = error.__cause__ if isinstance(error.__cause__, OSError) else error
        if self.local:  # a disk of another host
            return isinstance(cause, OSError) and cause.errno in _OUTAGES
        return _is_passing(cause)

    def _files_below(self, name: str) -> set[str]:
        """The paths of all files in a folder and in its folders, relative to it."""
        selector = fs.FileSelector(self.path(name), allow_not_found=True, recursive=True)
        infos = self._retry(lambda: self.filesystem.get_file_info(selector))
        return {info.path.removeprefix(f"{self.path(name)}/") for info in infos if info.type == fs.FileType.File}

    def _type(self, name: str) -> fs.FileType:
        return self._retry(lambda: self.filesystem.get_file_info(self.path(name))).type

    def _put(self, path: str, data: bytes) -> None:
        with self.filesystem.open_output_stream(path) as file:  # an object store's put is atomic
            file.write(data)

    def _replace(self, path: str, data: bytes, secret: bool) -> None:
        parent, _, base = path.rpartition("/")
        self.filesystem.create_dir(parent, recursive=True)
        draft = f"{parent}/.{base}.{uuid.uuid4().hex}"
        try:
            if secret:
                Path(draft).touch(mode=0o600)
            with self.filesystem.open_output_stream(draft) as file:
                file.write(data)
            self.filesystem.move(draft, path)
        except BaseException:
            Path(draft).unlink(missing_ok=True)
            raise

    def _retry(self, request: Callable[[], T]) -> T:
        """Makes a request; on a remote store, makes it again where it failed for a reason that may pass."""
        if self.local:
            return request()
        return Retrying(stop=_TRIES, wait=_WAIT, retry=retry_if_exception(_is_passing), reraise=True)(request)


def _is_passing(error: BaseException) -> bool:
    return (
        isinstance(error, OSError)
        and not isinstance(error, FileNotFoundError)
        and not any(word in str(error) for word in _PERMANENT)
    )
