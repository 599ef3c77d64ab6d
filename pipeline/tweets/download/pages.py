"""A file of downloaded pages, one JSON object per line, from which an interrupted download can continue.

    with PageFile(path, ids_of, cursor_of) as file:
        file.add(page)                  # appended and flushed
        file.cursor, file.complete      # where the current sweep continues, and whether it has ended

Servers send the newest posts first. A *sweep* downloads pages from the newest post back to a post of an earlier sweep,
or to the last page. A page that was cut off is removed, so an interrupted sweep continues after the last whole page.
"""

import json
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from pipeline.core.json_file import JsonObject
from pipeline.tweets.download.client import Unavailable

Page = JsonObject  # as the server sent it


class PageFile:
    """A file of pages; use it as a context manager to append pages."""

    def __init__(
        self, path: Path, ids_of: Callable[[Page], list[str]], cursor_of: Callable[[Page], str | None]
    ) -> None:
        """`ids_of` returns the ids of a page's posts, `cursor_of` the cursor of the next page, or None after the last.

        Raises Unavailable if the file holds anything but pages of this download.
        """
        self.path, self.ids_of, self.cursor_of = path, ids_of, cursor_of
        self.cursor: str | None = None
        self.complete = True
        self._earlier: set[str] = set()  # ids of the finished sweeps
        self._sweep: set[str] = set()  # ids of the last sweep
        read_pages(path, lambda page: self._take(ids_of(page), cursor_of(page)))

    def __enter__(self) -> "PageFile":
        self._file = self.path.open("ab")
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._file.close()
        if not self.path.stat().st_size:
            self.path.unlink()

    def add(self, page: Page) -> int:
        """Appends the page, unless it has no new post and the file is complete; returns how many posts are new."""
        ids, interrupted = self.ids_of(page), not self.complete
        known = self._earlier | self._sweep
        new = len(set(ids) - known)
        if new or interrupted:
            self._file.write(json.dumps(page, ensure_ascii=False).encode() + b"\n")
            self._file.flush()
        self._take(ids, self.cursor_of(page))
        return new

    def _take(self, ids: list[str], cursor: str | None) -> None:
        if self.complete:
            self._earlier |= self._sweep
            self._sweep = set()
        self._sweep.update(ids)
        self.complete = cursor is None or not ids or any(id in self._earlier for id in ids)
        self.cursor = None if self.complete else cursor


def read_pages(path: Path, take: Callable[[Page], object]) -> None:
    """Calls `take` with each page in the file, if there is one; removes a last line that was only partly written.

    Raises Unavailable if the file holds anything but pages: if a line is not JSON, or `take` does not understand it.
    """
    if not path.exists():
        return
    with path.open("r+b") as file:
        end = 0
        for line in file:
            if not line.endswith(b"\n"):
                break
            try:
                take(json.loads(line))
            except (ValueError, KeyError, TypeError, AttributeError):
                raise Unavailable(f"{path} does not hold pages of this download; move it away") from None
            end += len(line)
        file.truncate(end)
