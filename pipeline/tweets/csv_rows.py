"""Reads the rows of a CSV or TSV file, detects its dialect, and recovers from broken quotes.

    table = Table(text_lines, columns={})
    table.names, next(table.rows())          # ["id", "text"], (2, ["1", "tea"])

An unclosed quote would swallow the rest of the file as one cell. In that case only the line with the quote is
rejected, and the lines after it are read again. Quotes inside a text that are not doubled are accepted if the row can
be split into as many cells as the table has columns.
"""

import csv
import re
from collections.abc import Iterator, Mapping
from itertools import chain, islice
from typing import Any, Literal, TypedDict

from pipeline.tweets.columns import Columns
from pipeline.tweets.record import Reject
from pipeline.tweets.text_lines import Overlong, TextLines, is_decoded

MAX_FIELD = 2**20  # characters; a longer one is an unclosed quote, not a tweet
MAX_ROW = 4 * 2**20  # characters; a longer row has quotes that do not match
_SAMPLE = 200  # lines from which the delimiter and the quoting are detected
_REREAD = 64 * 2**20  # most characters to read again after broken quotes
_LENIENT = 2**16  # most characters of a row that `split` gets
_JOINED = 30  # most lines of such a row
_DELIMITERS = ",;\t|"
_SEPARATOR = re.compile(r"\ufeff?\"?sep=(.)\"?[\r\n]*$", re.IGNORECASE)  # what Excel writes above the header
_BACKSLASHED = re.compile(r'[^\\,;\t|"]\\"(?![,;\t|\r\n]|$)')
_DOUBLED = re.compile(r'[^,;\t|"\r\n]""[^,;\t|"\r\n]')

Rows = Iterator[tuple[int, Any]]  # (number of the row's first line, its cells or a Reject)


class Dialect(TypedDict, total=False):
    """The arguments for csv.reader that fit a table."""

    delimiter: str
    quoting: Literal[0, 3]  # csv.QUOTE_MINIMAL, csv.QUOTE_NONE
    escapechar: str
    doublequote: bool


class Table:
    """A CSV or TSV file: `names` holds its column names, `rows` reads the rows below them."""

    def __init__(self, text: TextLines, columns: Mapping[str, str | None]):
        """`columns` is the mapping in the fleet file; if it holds column numbers, the table has no header."""
        lines = iter(text)
        self.sample = list(islice(lines, _SAMPLE))
        self.lines = chain(self.sample, lines)  # all lines from the first; text_file.py reads them if this is no table
        self._text, self._columns = text, columns
        separator = _SEPARATOR.match(self.sample[0]) if self.sample else None
        self._above = 1 if separator else 0  # lines above the header
        while self._above < len(self.sample) and not self.sample[self._above].strip("\ufeff \r\n\t"):
            self._above += 1
        top = self.sample[self._above :]
        self._dialect, self.names = self._found(top, separator[1] if separator else None)
        self._header = bool(top)
        mapped = set(filter(None, columns.values()))
        if mapped and all(map(str.isdecimal, mapped)) and not mapped & set(self.names):
            self.names, self._header = [str(number) for number in range(len(self.names))], False

    def _found(self, top: list[str], separator: str | None) -> tuple[Dialect, list[str]]:
        """Returns the arguments for csv.reader that fit the table, and the names in its first line."""
        header = top[0][:MAX_FIELD].lstrip("\ufeff") if top else ""

        def names(delimiter: str) -> list[str]:
            try:
                return [name.strip() for name in next(csv.reader([header], delimiter=delimiter), [])]
            except csv.Error:
                return []

        found = {delimiter: names(delimiter) for delimiter in separator or _DELIMITERS}
        delimiter = max(found, key=lambda one: (bool(Columns.of(found[one], self._columns).text), len(found[one])))
        if len(found[delimiter]) == 1:
            return {"delimiter": "\x1f"}, found[delimiter]  # one column, in which commas are text
        dialect: Dialect = {"delimiter": delimiter}
        if delimiter == "\t" and _without_quoting(top, len(found[delimiter])):
            dialect["quoting"] = csv.QUOTE_NONE
        elif any(map(_BACKSLASHED.search, top)) and not any(map(_DOUBLED.search, top)):
            dialect |= {"escapechar": "\\", "doublequote": False}
        return dialect, found[delimiter]

    def rows(self) -> Rows:
        """Yields the rows below the header, without blank ones.

        A row that cannot be parsed or decoded becomes a Reject. Reading stops after too many broken quotes.
        """
        csv.field_size_limit(MAX_FIELD)
        source = _Replay(islice(self.lines, self._above, None), self._above)
        reader = csv.reader(source, strict=True, **self._dialect)
        header, reread = self._header, 0
        while True:
            line = source.number + 1
            source.begin()
            try:
                row: list[str] | None = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                reread += source.replay()
                if (row := None if header else self._lenient(source)) is None:
                    source.give_up()
                    yield line, Reject(line, f"broken CSV: {error}")
                    header = False
                if reread > _REREAD:
                    yield line, Reject(line + 1, "broken CSV: quotes that do not match; nothing is read from here on")
                    return
                if row is None:
                    continue
            if header:
                header = False
            elif row:
                broken = self._text.escaped and not all(map(is_decoded, row))
                yield line, Reject(line, "neither UTF-8 nor Windows-1252") if broken else row

    def _lenient(self, source: "_Replay") -> list[str] | None:
        """Returns the cells of a row with undoubled quotes, or None if they are not as many as the columns.

        The row may continue on the next lines, up to a line that is a complete row by itself.
        """
        delimiter, width = self._dialect["delimiter"], len(self.names)
        if "quoting" in self._dialect or "escapechar" in self._dialect:
            return None
        row = ""
        for number, line in enumerate(source.ahead(_JOINED), 1):
            if number > 1 and _is_row(line, delimiter, width):
                return None
            row += line
            if len(row) > _LENIENT:
                return None
            if (cells := split(row.rstrip("\r\n"), delimiter, width)) is not None:
                source.take(number)
                return cells
        return None


def split(row: str, delimiter: str, width: int) -> list[str] | None:
    """Splits a row into `width` cells, or returns None if it cannot; a quote ends a cell only before a delimiter.

    split('1,"the mayor said "no" and sat down"', ",", 2)      # ["1", 'the mayor said "no" and sat down']
    """
    failed: set[tuple[int, int]] = set()

    def cells(at: int, left: int) -> list[str] | None:
        if (at, left) in failed:
            return None
        for end, cell in _ends(row, at, delimiter):
            if left == 1:
                if end == len(row):
                    return [cell]
            elif end < len(row) and (rest := cells(end + 1, left - 1)) is not None:
                return [cell, *rest]
        failed.add((at, left))
        return None

    try:
        return cells(0, width)
    except RecursionError:
        return None


def _ends(row: str, at: int, delimiter: str) -> Iterator[tuple[int, str]]:
    """Yields each position where the cell that begins at `at` may end, with the text of the cell."""
    if not row.startswith('"', at):
        end = row.find(delimiter, at)
        end = len(row) if end < 0 else end
        yield end, row[at:end]
        return
    close = row.find('"', at + 1)
    while close >= 0:
        if close + 1 == len(row) or row[close + 1] == delimiter:
            yield close + 1, row[at + 1 : close].replace('""', '"')
        close = row.find('"', close + 1)


def _is_row(line: str, delimiter: str, width: int) -> bool:
    """Whether a line is a complete row by itself."""
    try:
        return len(next(csv.reader([line], strict=True, delimiter=delimiter), [])) == width
    except csv.Error:
        return False


def _without_quoting(sample: list[str], width: int) -> bool:
    """Whether each line of a TSV file is a complete row, in which quotes are ordinary characters."""
    table = [line.rstrip("\r\n").split("\t") for line in sample if line.strip()]
    opened = [cell for row in table for cell in row if cell.startswith('"')]
    return all(len(row) == width for row in table) and any(not cell[1:].endswith('"') for cell in opened)


class _Replay:
    """An iterator of lines that keeps the lines of the current row, so that they can be read again."""

    def __init__(self, lines: Iterator[str], number: int):
        self._lines = lines
        self._again: list[str] = []
        self._taken: list[str] = []
        self._size = 0
        self.number = number  # how many lines have been read

    def __iter__(self) -> "_Replay":
        return self

    def __next__(self) -> str:
        line = self._next()
        self.number += 1
        self._taken.append(line)
        self._size += len(line)
        if type(line) is Overlong:
            raise csv.Error("a line of over 16 MiB")
        if self._size > MAX_ROW and len(self._taken) > 1:
            raise csv.Error("quotes that do not match")
        return line

    def _next(self) -> str:
        return self._again.pop() if self._again else next(self._lines)

    def begin(self) -> None:
        """Starts a new row."""
        self._taken, self._size = [], 0

    def replay(self) -> int:
        """Puts all lines of the row back; returns how many characters the lines after the first one have."""
        size = sum(map(len, self._taken[1:]))
        self._again += reversed(self._taken)
        self.number -= len(self._taken)
        self.begin()
        return size

    def ahead(self, most: int) -> Iterator[str]:
        """Yields up to `most` of the next lines without reading past them."""
        for number in range(1, most + 1):
            while len(self._again) < number:
                if (line := next(self._lines, None)) is None:
                    return
                self._again.insert(0, line)
            if type(self._again[-number]) is Overlong:
                return
            yield self._again[-number]

    def take(self, count: int) -> None:
        """Skips `count` lines that `ahead` has yielded and that belong to the row."""
        del self._again[len(self._again) - count :]
        self.number += count

    def give_up(self) -> None:
        """Skips the first line of the row, which is broken."""
        self._next()
        self.number += 1
