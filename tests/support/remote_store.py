"""Object stores in a folder of this machine: a plain one, and one that counts requests as a real one gets them.

store, requests = remote_store(tmp_path)
store.read("report.json")
requests.number, requests.most_at_once      # 2, 1
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from pyarrow import fs

from pipeline.core.store import Store

_PAGE = 1000  # names in one answer to a listing


class Remote(fs.FileSystemHandler):  # type: ignore[misc]
    """Makes of a local folder what the store takes for an object store: nothing is renamed, no folders are made."""

    def __init__(self, root: Path):
        self.inner = fs.SubTreeFileSystem(str(root), fs.LocalFileSystem())

    def get_type_name(self) -> str:
        return "remote"

    def normalize_path(self, path: str) -> str:
        return path

    def get_file_info(self, paths: list[str]) -> list[fs.FileInfo]:
        return self.inner.get_file_info(paths)

    def get_file_info_selector(self, selector: fs.FileSelector) -> list[fs.FileInfo]:
        return self.inner.get_file_info(selector)

    def open_output_stream(self, path: str, metadata: Any) -> Any:
        self.inner.create_dir(path.rpartition("/")[0], recursive=True)
        return self.inner.open_output_stream(path)

    def open_input_file(self, path: str) -> Any:
        return self.inner.open_input_file(path)

    def open_input_stream(self, path: str) -> Any:
        return self.open_input_file(path)

    def delete_dir(self, path: str) -> None:
        self.inner.delete_dir(path)

    def delete_file(self, path: str) -> None:
        self.inner.delete_file(path)

    def move(self, *arguments: Any) -> NoReturn:
        raise AssertionError("an object store cannot do this")

    copy_file = create_dir = delete_dir_contents = delete_root_dir_contents = open_append_stream = move


class Requests(Remote):
    """Counts as pyarrow's S3 file system asks: a file that is opened is looked up first, a listing comes in pages."""

    def __init__(self, root: Path, seconds: float = 0.0):
        """`seconds`: how long each request takes."""
        super().__init__(root)
        self.seconds, self.number, self.at_once, self.most_at_once = seconds, 0, 0, 0
        self.read: list[str] = []  # the paths of all files that were opened
        self._lock = threading.Lock()

    @contextmanager
    def _counted(self, number: int = 1) -> Iterator[None]:
        with self._lock:
            self.number += number
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        time.sleep(number * self.seconds)
        yield
        with self._lock:
            self.at_once -= 1

    def get_file_info(self, paths: list[str]) -> list[fs.FileInfo]:
        with self._counted(len(paths)):
            return super().get_file_info(paths)

    def get_file_info_selector(self, selector: fs.FileSelector) -> list[fs.FileInfo]:
        infos = super().get_file_info_selector(selector)
        with self._counted(1 + len(infos) // _PAGE):
            return infos

    def open_input_file(self, path: str) -> Any:
        with self._counted(2):
            self.read.append(path)
            return super().open_input_file(path)

    def open_output_stream(self, path: str, metadata: Any) -> Any:
        with self._counted():
            return super().open_output_stream(path, metadata)

    def delete_file(self, path: str) -> None:
        with self._counted():
            super().delete_file(path)

    def delete_dir(self, path: str) -> None:
        with self._counted(2):
            super().delete_dir(path)


def remote_store(folder: Path, seconds: float = 0.0) -> tuple[Store, Requests]:
    """A store in `{folder}/birds`, each request to which takes so many seconds, and what counts them."""
    requests = Requests(folder, seconds)
    return Store(fs.PyFileSystem(requests), "birds"), requests
