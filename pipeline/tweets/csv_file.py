"""CSV and TSV: the delimiter is found out, the columns by their usual names; the file's stem is the handle."""

import csv
import io
from collections.abc import Callable, Iterator
from typing import Any

from pipeline.names import handle_of
from pipeline.tweets.columns import USUAL, Columns, flag, missing, plain_name
from pipeline.tweets.files import TweetFile
from pipeline.tweets.record import Profile, Reject, Row

MAX_FIELD = 2**20  # characters; a longer one is an unclosed quote, not a tweet
_ACCOUNT = {"name", "description", "profileimageurl", "profileimageurlhttps", "followerscount"}


def rows(stream: io.BufferedReader, file: TweetFile) -> Iterator[Row | Reject | Profile]:
    # surrogateescape carries bytes that are not UTF-8 through the parser, so one bad record costs one record
    text = io.TextIOWrapper(stream, "utf-8-sig", errors="surrogateescape", newline="")
    header = text.readline(MAX_FIELD)
    delimiter = max(",;\t", key=header.count)
    names = next(csv.reader([header], delimiter=delimiter), [])
    columns = Columns.of(names, file.columns)
    if columns.text:
        if (problem := missing(names, file.columns)) is not None:
            yield Reject(0, problem)
        else:
            yield from _tweets(_rows(text, delimiter), names, columns, file.handle)
    elif columns.handle and columns.id and not _ACCOUNT.isdisjoint(map(plain_name, names)):
        yield from _accounts(_rows(text, delimiter), names, columns)
    else:
        yield Reject(0, f"not a tweet file: no JSON, and no column named {', '.join(USUAL['text'])}")


def _tweets(
    lines: Iterator[tuple[int, list[Any] | Reject]], names: list[str], columns: Columns, owner: str | None
) -> Iterator[Row | Reject]:
    width = len(names)

    def at(found: tuple[str, ...]) -> int:
        return names.index(found[0]) if found else width  # behind the last cell we put an empty one

    def tests(field: str) -> list[tuple[int, Callable[[Any], bool]]]:
        return [(names.index(name), flag(field, name)) for name in getattr(columns, field)]

    handle, id, text = at(columns.handle), at(columns.id), at(columns.text)
    created_at, lang, likes = at(columns.created_at), at(columns.lang), at(columns.likes)
    retweet, reply, quote = tests("retweet"), tests("reply"), tests("quote")
    for line, row in lines:
        if isinstance(row, Reject):
            yield row
            continue
        row += [None] * (width + 1 - len(row))
        yield (
            row[handle] or owner,
            row[id],
            row[text],
            _said(row, retweet),
            line,
            row[created_at],
            row[lang] or None,
            row[likes],
            _said(row, reply),
            _said(row, quote),
        )


def _said(row: list[Any], tests: list[tuple[int, Callable[[Any], bool]]]) -> bool | None:
    for at, test in tests:
        if test(row[at]):
            return True
    return False if tests else None


def _accounts(
    lines: Iterator[tuple[int, list[Any] | Reject]], names: list[str], columns: Columns
) -> Iterator[Profile | Reject]:
    """A users table: its rows are people."""
    for line, row in lines:
        if isinstance(row, Reject):
            yield row
            continue
        cells = dict(zip(names, row, strict=False))
        handle = handle_of(cells.get(columns.handle[0], ""))
        url = cells.get("profile_image_url_https") or cells.get("profile_image_url")
        if handle is None:
            yield Reject(line, "an account without a handle")
        else:
            yield Profile(handle, cells.get("name") or None, None, url or None, cells.get(columns.id[0]))


def _rows(text: io.TextIOWrapper, delimiter: str) -> Iterator[tuple[int, list[Any] | Reject]]:
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
            yield line, Reject(line, "not UTF-8") if any(map(_not_utf8, row)) else row


def _not_utf8(value: str) -> bool:
    return not value.isascii() and any("\udc80" <= char <= "\udcff" for char in value)
