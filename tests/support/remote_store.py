"""A store that counts requests as an object store gets them; its files are in a folder of this machine.

store, requests = remote_store(tmp_path)
store.read("report.json")
requests.number, requests.most_at_once      # 2, 1
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pyarrow import fs

from pipeline.core.store import Store

_PAGE = 1000  # names in one answer to a listing


class Requests(fs.FileSystemHandler):  # type: ignore[misc]
    """Counts as pyarrow's S3 file system asks: a file that is opened is looked up first, a listing comes in pages."""

    def __init__(self, seconds: float = 0.0):
        """`seconds`: how long each request takes."""
        self.seconds, self.number, self.at_once, self.most_at_once = seconds, 0, 0, 0
        self.read: list[str] = []  # the paths of all files that were opened
        self._disk, self._lock = fs.LocalFileSystem(), threading.Lock()

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
            return self._disk.get_file_info(paths)

    def get_file_info_selector(self, selector: fs.FileSelector) -> list[fs.FileInfo]:
        infos = self._disk.get_file_info(selector)
        with self._counted(1 + len(infos) // _PAGE):
            return infos

    def open_input_file(self, path: str) -> Any:
        with self._counted(2):
            self.read.append(path)
            return self._disk.open_input_file(path)

    def open_input_stream(self, path: str) -> Any:
        with self._counted(2):
            self.read.append(path)
            return self._disk.open_input_stream(path)

    def open_output_stream(self, path: str, metadata: Any) -> Any:
        with self._counted():
            self._disk.create_dir(path.rpartition("/")[0], recursive=True)
            return self._disk.open_output_stream(path, metadata=metadata)

    def open_append_stream(self, path: str, metadata: Any) -> Any:
        raise NotImplementedError

    def delete_file(self, path: str) -> None:
        with self._counted():
            self._disk.delete_file(path)

    def delete_dir(self, path: str) -> None:
        with self._counted(2):
            self._disk.delete_dir(path)

    def delete_dir_contents(self, path: str, missing_dir_ok: bool = False) -> None:
        raise NotImplementedError

    def delete_root_dir_contents(self) -> None:
        raise NotImplementedError

    def create_dir(self, path: str, recursive: bool) -> None:
        self._disk.create_dir(path, recursive=recursive)

    def move(self, src: str, dest: str) -> None:
        raise NotImplementedError

    def copy_file(self, src: str, dest: str) -> None:
        raise NotImplementedError

    def get_type_name(self) -> str:
        return "counting"

    def normalize_path(self, path: str) -> str:
        return path


def remote_store(folder: Path, seconds: float = 0.0) -> tuple[Store, Requests]:
    """A store in `{folder}/birds`, each request to which takes so many seconds, and what counts them."""
    requests = Requests(seconds)
    return Store(fs.PyFileSystem(requests), f"{folder}/birds"), requests
