"""What the readers of tweets find in a file, as lists.

items = found(folder / "wren.csv")
texts(items), rejects(items)                # ["tea"], [(3, "no text")]
"""

from pathlib import Path
from typing import Any

from pipeline.core.settings import TweetSource
from pipeline.tweets import Record, Reject, find, read


def found(path: Path, **source: Any) -> list[Any]:
    """Reads a file or folder as an entry of `tweets`; `source` has further keys of the entry."""
    return [item for file in find([TweetSource(path=str(path), **source)]) for item in read(file)]


def records(items: list[Any]) -> list[Record]:
    """The tweets among the items."""
    return [item for item in items if isinstance(item, Record)]


def texts(items: list[Any]) -> list[str]:
    """The texts of the tweets."""
    return [record.text for record in records(items)]


def rejects(items: list[Any]) -> list[tuple[int, str]]:
    """The line and the reason of each reject."""
    return [(item.line, item.reason) for item in items if isinstance(item, Reject)]


def reasons(items: list[Any]) -> list[str]:
    """The reasons of the rejects."""
    return [reason for _, reason in rejects(items)]
