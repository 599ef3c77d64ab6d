"""Where things live: a fleet's folder, on disk or in an object store, through pyarrow's file systems.

    store = Store.of(fleet)
    store.write("report.json", b"{}")      # appears whole or not at all
    store.read("bots/nasa/current")

Every path is relative to `{storage}/{fleet}`. A store is small and picklable: Ray tasks carry it along.
"""

import uuid
from dataclasses import dataclass
from pathlib import Path

from pyarrow import fs

from pipeline.errors import UserError
from pipeline.fleet import Fleet


@dataclass(frozen=True)
class Store:
    filesystem: fs.FileSystem
    root: str

    @classmethod
    def of(cls, fleet: Fleet) -> "Store":
        filesystem, root = resolve(fleet.storage)
        return cls(filesystem, f"{root}/{fleet.fleet}")

    def path(self, name: str) -> str:
        return f"{self.root}/{name}"

    def read(self, name: str) -> bytes:
        """The bytes of a file. Raises FileNotFoundError."""
        with self.filesystem.open_input_file(self.path(name)) as file:
            return file.read()

    def write(self, name: str, data: bytes) -> None:
        """Writes a file in one step: a reader sees the old one or the new one, never a half.

        Raises OSError naming the file, for instance when the disk is full.
        """
        path = self.path(name)
        try:
            if isinstance(self.filesystem, fs.LocalFileSystem):
                self._replace(path, data)
            else:
                with self.filesystem.open_output_stream(path) as file:  # an object store's put is atomic
                    file.write(data)
        except OSError as error:
            raise OSError(f"{path}: cannot be written: {' '.join(str(error).split())}") from error

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
        if not isinstance(self.filesystem, fs.LocalFileSystem):
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
        return self.filesystem.get_file_info(self.path(name)).type != fs.FileType.NotFound

    def list(self, name: str) -> list[str]:
        """The names directly in a folder, sorted; drafts left out; empty where there is no folder."""
        selector = fs.FileSelector(self.path(name), allow_not_found=True)
        names = (info.base_name for info in self.filesystem.get_file_info(selector))
        return sorted(name for name in names if not name.startswith("."))

    def delete(self, name: str) -> None:
        """Deletes a file or a folder, if it is there."""
        kind = self.filesystem.get_file_info(self.path(name)).type
        if kind == fs.FileType.Directory:
            self.filesystem.delete_dir(self.path(name))
        elif kind == fs.FileType.File:
            self.filesystem.delete_file(self.path(name))

    def fetch(self, name: str, folder: Path) -> Path:
        """A local folder with the files of the store's folder `name`: itself where the store is local."""
        if isinstance(self.filesystem, fs.LocalFileSystem):
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
