"""CSV and TSV: delimiter, quoting and encoding are found out, the columns by their usual names.

Without a user column the file's stem is the handle. A table of accounts (a handle, no text) gives profiles. What is
no table may be a plain text of tweets.
"""

import csv
import io
import re
from collections.abc import Callable, Iterator
from itertools import chain, islice
from operator import itemgetter
from typing import Any

from pipeline.core.names import handle_of
from pipeline.tweets import text_file
from pipeline.tweets.columns import USUAL, Columns, flag, missing, plain_name
from pipeline.tweets.export import OLD_COLUMNS
from pipeline.tweets.files import TweetFile, export_handle
from pipeline.tweets.record import Profile, Reject, Row
from pipeline.tweets.text_lines import Overlong, TextLines, is_decoded

MAX_FIELD = 2**20  # characters; a longer one is an unclosed quote, not a tweet
_SAMPLE = 200  # lines that delimiter and quoting are told from
MAX_ROW = 4 * 2**20  # characters; a longer row comes of quotes that do not match
_REREAD = 64 * 2**20  # characters read again behind broken quotes, at most
_DELIMITERS = ",;\t|"
_ACCOUNT = {"name", "description", "profileimageurl", "profileimageurlhttps", "followerscount"}
_BACKSLASHED = re.compile(r'[^\\,;\t|"]\\"(?![,;\t|\r\n]|$)')
_DOUBLED = re.compile(r'[^,;\t|"\r\n]""[^,;\t|"\r\n]')

_Lines = Iterator[tuple[int, Any]]  # (line that a row begins in, its cells or a Reject)


def rows(stream: io.BufferedReader, file: TweetFile) -> Iterator[Row | Reject | Profile]:
    text = TextLines(stream)
    lines = iter(text)
    sample = list(islice(lines, _SAMPLE))
    dialect, names = _dialect(sample, file)
    columns = Columns.of(names, file.columns)
    cells = _cells(text, chain(sample, lines), dialect)
    if columns.text or any(file.columns.values()):
        if (problem := missing(names, file.columns)) is not None:
            yield Reject(0, problem)
        else:
            old = file.handle == "tweets" and not file.named and set(map(plain_name, names)) >= OLD_COLUMNS
            yield from _tweets(
                cells, names, columns, export_handle(file.filesystem, file.path, file.archive) if old else file.handle
            )
    elif columns.handle and columns.id and not _ACCOUNT.isdisjoint(map(plain_name, names)):
        yield from _accounts(cells, names, columns)
    elif text_file.is_text(file, sample):
        yield from text_file.rows(text, chain(sample, lines), file)
    else:
        yield Reject(0, f"not a tweet file: no JSON, and no column named {', '.join(USUAL['text'])}")


def _dialect(sample: list[str], file: TweetFile) -> tuple[dict[str, Any], list[str]]:
    """How the table is written, as csv.reader's arguments, and the names in its first line."""
    header = sample[0][:MAX_FIELD].lstrip("\ufeff") if sample else ""

    def names(delimiter: str) -> list[str]:
        try:
            return [name.strip() for name in next(csv.reader([header], delimiter=delimiter), [])]
        except csv.Error:
            return []

    found = {delimiter: names(delimiter) for delimiter in _DELIMITERS}
    delimiter = max(found, key=lambda one: (bool(Columns.of(found[one], file.columns).text), len(found[one])))
    if len(found[delimiter]) == 1:
        return {"delimiter": "\x1f"}, found[delimiter]  # one column, in which a comma separates nothing
    dialect: dict[str, Any] = {"delimiter": delimiter}
    if delimiter == "\t" and _without_quoting(sample, len(found[delimiter])):
        dialect["quoting"] = csv.QUOTE_NONE
    elif any(map(_BACKSLASHED.search, sample)) and not any(map(_DOUBLED.search, sample)):
        dialect |= {"escapechar": "\\", "doublequote": False}
    return dialect, found[delimiter]


def _without_quoting(sample: list[str], width: int) -> bool:
    """Whether each line of a TSV is a whole row, and a quote at a cell's start only a character of it."""
    table = [line.rstrip("\r\n").split("\t") for line in sample if line.strip()]
    opened = [cell for row in table for cell in row if cell.startswith('"')]
    return all(len(row) == width for row in table) and any(not cell[1:].endswith('"') for cell in opened)


def _tweets(lines: _Lines, names: list[str], columns: Columns, owner: str | None) -> Iterator[Row | Reject]:
    width = len(names)

    def at(found: tuple[str, ...]) -> int:
        return names.index(found[0]) if found else width  # behind the last cell we put an empty one

    fields = ("handle", "id", "text", "created_at", "lang", "likes")
    pick = itemgetter(*(at(getattr(columns, field)) for field in fields))
    retweet, reply, quote = (_teller(names, columns, field) for field in ("retweet", "reply", "quote"))
    for line, row in lines:
        if isinstance(row, Reject):
            yield row
            continue
        if len(row) != width:
            if any(row[width:]):
                yield Reject(line, f"{len(row)} cells in a row, and {width} columns")
                continue
            row = row[:width] + [None] * (width - len(row))
        row.append(None)
        handle, id, text, created_at, lang, likes = pick(row)
        yield (
            handle or owner,
            id,
            text,
            retweet(row) if retweet else None,
            line,
            created_at,
            lang or None,
            likes,
            reply(row) if reply else None,
            quote(row) if quote else None,
        )


def _teller(names: list[str], columns: Columns, field: str) -> Callable[[list[Any]], bool] | None:
    """What tells from a row whether it is a retweet, a reply or a quote; None where no column does."""
    tests = [(names.index(name), flag(field, name)) for name in getattr(columns, field)]
    if len(tests) == 1:
        [(at, test)] = tests
        return lambda row: test(row[at])
    return (lambda row: any(test(row[at]) for at, test in tests)) if tests else None


def _owner(file: TweetFile, names: list[str]) -> str | None:
    """Whose the tweets are where no column says; an old X export's tweets.csv is not @tweets's."""
    if file.handle == "tweets" and not file.named and set(map(plain_name, names)) >= OLD_COLUMNS:
        return export_handle(file.filesystem, file.path, file.archive)
    return file.handle


def _accounts(lines: _Lines, names: list[str], columns: Columns) -> Iterator[Profile | Reject]:
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


def _cells(text: TextLines, lines: Iterator[str], dialect: dict[str, Any]) -> _Lines:
    """The rows behind the header that are not blank.

    A quote that is never closed would swallow all that follows: then only the line it is in is given up, and the
    rest is read again.
    """
    csv.field_size_limit(MAX_FIELD)
    source = _Replay(lines)
    reader = csv.reader(source, strict=True, **dialect)
    header, reread = True, 0
    while True:
        line = source.number + 1
        source.begin()
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield line, Reject(line, f"broken CSV: {error}")
            header = False
            reread += source.replay()
            if reread > _REREAD:
                yield line, Reject(line + 1, "broken CSV: quotes that do not match; nothing is read from here on")
                return
            continue
        if header:
            header = False
        elif row:
            broken = text.escaped and not all(map(is_decoded, row))
            yield line, Reject(line, "neither UTF-8 nor Windows-1252") if broken else row


class _Replay:
    """Lines, of which those of the present row are kept and can be read again from its second line on."""

    def __init__(self, lines: Iterator[str]):
        self._lines = lines
        self._again: list[str] = []
        self._taken: list[str] = []
        self._size = 0
        self.number = 0  # of lines read

    def __iter__(self) -> "_Replay":
        return self

    def __next__(self) -> str:
        line = self._again.pop() if self._again else next(self._lines)
        self.number += 1
        self._taken.append(line)
        self._size += len(line)
        if type(line) is Overlong:
            raise csv.Error("a line of over 16 MiB")
        if self._size > MAX_ROW and len(self._taken) > 1:
            raise csv.Error("quotes that do not match")
        return line

    def begin(self) -> None:
        self._taken, self._size = [], 0

    def replay(self) -> int:
        """Puts back all but the first line of the row; returns how many characters those are."""
        back = self._taken[1:]
        self._again += reversed(back)
        self.number -= len(back)
        return sum(map(len, back))
