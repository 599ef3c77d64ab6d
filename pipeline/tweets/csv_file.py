"""CSV and TSV: the delimiter is found out, the columns by their usual names; the file's stem is the handle."""

import csv
import io
from collections.abc import Iterator

from pipeline.tweets.record import Record, Reject, record

MAX_FIELD = 2**20  # characters; a longer one is an unclosed quote, not a tweet
_TEXT = ("text", "full_text", "tweet", "content")
_ID = ("id", "tweet_id", "id_str")
_USER = ("screen_name", "username", "handle", "user", "author")
_RETWEET = ("is_retweet", "retweet", "type")
_YES = ("true", "t", "1", "yes", "retweet", "rt")


def records(stream: io.BufferedReader, handle: str | None) -> Iterator[Record | Reject]:
    # surrogateescape carries bytes that are not UTF-8 through the parser, so one bad record costs one record
    text = io.TextIOWrapper(stream, "utf-8-sig", errors="surrogateescape", newline="")
    header = text.readline(MAX_FIELD)
    delimiter = max(",;\t", key=header.count)
    names = [name.strip().lower() for name in next(csv.reader([header], delimiter=delimiter), [])]

    def column(candidates: tuple[str, ...]) -> int | None:
        return next((names.index(name) for name in candidates if name in names), None)

    where = column(_TEXT)
    if where is None:
        yield Reject(0, f"not a tweet file: no JSON, and no column named {', '.join(_TEXT)}")
        return
    id_at, user_at, flag_at = column(_ID), column(_USER), column(_RETWEET)

    def cell(row: list[str], at: int | None) -> str | None:
        return row[at] if at is not None and at < len(row) else None

    rows = _rows(text, delimiter)
    for line, row in rows:
        if isinstance(row, Reject):
            yield row
        elif any(_not_utf8(value) for value in row):
            yield Reject(line, "not UTF-8")
        else:
            flag = None if flag_at is None else _is_retweet(cell(row, flag_at) or "")
            yield record(cell(row, user_at) or handle, cell(row, id_at), cell(row, where), flag, line)


def _rows(text: io.TextIOWrapper, delimiter: str) -> Iterator[tuple[int, list[str] | Reject]]:
    """(line, row) for each row that is not blank; the header's line is 1."""
    csv.field_size_limit(MAX_FIELD)
    reader = csv.reader(text, delimiter=delimiter)
    while True:
        line = reader.line_num + 2
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield line, Reject(line, f"broken CSV: {error}")
            continue
        if row:
            yield line, row


def _not_utf8(value: str) -> bool:
    return any("\udc80" <= char <= "\udcff" for char in value)


def _is_retweet(value: str) -> bool:
    value = value.strip().lower()
    return value in _YES or value.startswith("rt:")
