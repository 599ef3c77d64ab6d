"""A file of downloaded pages, one JSON object a line, and what a later call still has to ask for.

    with PageFile(path, ids_of, cursor_of) as file:
        file.add(page)                  # appended and flushed
        file.cursor, file.complete      # where the sweep under way continues, and whether it is through

Servers send the newest posts first. A *sweep* goes from the newest post back to one that an earlier sweep has
brought, or to the end. A page is written whole or not at all, so an interrupted sweep continues from the last page.
"""

import json
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from pipeline.tweets.download.client import Unavailable

Page = dict[str, Any]


class PageFile:
    """See the module."""

    def __init__(
        self, path: Path, ids_of: Callable[[Page], list[str]], cursor_of: Callable[[Page], str | None]
    ) -> None:
        """`ids_of` gives a page's posts, `cursor_of` where the next page begins; None: there is none.

        Raises Unavailable where the file holds something else.
        """
        self.path, self.ids_of, self.cursor_of = path, ids_of, cursor_of
        self.cursor: str | None = None
        self.complete = True
        self._earlier: set[str] = set()  # ids that finished sweeps have brought
        self._sweep: set[str] = set()  # ids of the last sweep
        self._read_back()

    def __enter__(self) -> "PageFile":
        self._file = self.path.open("ab")
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._file.close()
        if not self.path.stat().st_size:
            self.path.unlink()

    def add(self, page: Page) -> int:
        """Appends the page, unless it brings nothing to a finished file; returns how many posts are new."""
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

    def _read_back(self) -> None:
        """Takes in what the file holds; removes a last line that was cut off while it was written."""
        if not self.path.exists():
            return
        with self.path.open("r+b") as file:
            end = 0
            for line in file:
                if not line.endswith(b"\n"):
                    break
                try:
                    page = json.loads(line)
                    self._take(self.ids_of(page), self.cursor_of(page))
                except (ValueError, KeyError, TypeError, AttributeError):
                    raise Unavailable(f"{self.path} does not hold pages of this download; move it away") from None
                end += len(line)
            file.truncate(end)
