"""Validates the rows that readers yield, and turns them into typed columns, one batch at a time.

    for batch in batches(items(file), file, items):
        batch.records["text"], batch.rejects          # an Arrow column, [Reject(line, reason), …]

Validating whole columns is fast. A row that cannot be used becomes a Reject with its line; the other rows stay.
"""

import ast
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import compress
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.tweets.authors import Owner, Unknown
from pipeline.tweets.dates import timestamps
from pipeline.tweets.files import TweetFile
from pipeline.tweets.flags import NOTHING
from pipeline.tweets.record import SCHEMA, Notice, Part, Profile, Reject, Row

_ROWS = 10_000  # in a batch
_CHARS = 16 * 2**20  # of text in a batch; reached first where tweets are very long
_MAX_TEXT = 2**20  # characters; a longer text is no tweet
OTHERS = "records of people who are in none of this fleet's bots"
_NO_IDS = pa.array([*sorted(NOTHING), "0", "0.0", "-1"])
_BYTES = r"""(?s)^b(?:'.*'|".*")$"""  # text that was written as a Python bytes literal
_EMPTY = pa.RecordBatch.from_pylist([], schema=SCHEMA)
_LOST = r"^\s*\d+([.,]\d+)?[eE]\+?\d+\s*$|^\s*\d{16,}\.0*\s*$"  # 1.23E+18: a spreadsheet keeps 15 digits


@dataclass
class Batch:
    """Some records of one file, in the order of the file, and the rejects, profiles and notices between them."""

    path: str  # of the file; for a part of an archive, the paths of the archive and of the part
    records: pa.RecordBatch  # of `SCHEMA`
    rejects: list[Reject] = field(default_factory=list)
    profiles: list[Profile] = field(default_factory=list)
    notices: list[Notice] = field(default_factory=list)


def without_people(batch: Batch, file: TweetFile) -> Batch:
    """Returns the batch without people whom the fleet excludes, or who are in none of its bots; counts the latter."""
    records = batch.records.filter(pc.invert(_is_in(batch.records, file.without)))
    wanted = records if file.only is None else records.filter(_is_in(records, file.only))
    others = len(records) - len(wanted)
    notices = [*batch.notices, *([Notice(OTHERS, others, batch.path)] if others else [])]
    profiles = [profile for profile in batch.profiles if profile.handle not in file.without]
    profiles = [profile for profile in profiles if file.only is None or profile.handle in file.only]
    return Batch(batch.path, wanted, batch.rejects, profiles, notices)


def _is_in(records: pa.RecordBatch, handles: frozenset[str]) -> pa.BooleanArray:
    return pc.is_in(records["handle"], value_set=pa.array(sorted(handles), pa.string()))


Item = Row | Reject | Profile | Notice | Part


def batches(items: Iterable[Item], file: TweetFile, read: Callable[[TweetFile], Iterator[Item]]) -> Iterator[Batch]:
    """Yields the items of a reader in batches.

    `read` reads a file again; authors.Owner calls it if it needs a second pass to find the authors.
    """
    owner, batch = Owner(file, read), _Gathered()
    for item in items:
        if type(item) is tuple:
            batch.rows.append(item)
            batch.chars += len(item[2]) if type(item[2]) is str else 0
            if len(batch.rows) < _ROWS and batch.chars < _CHARS:
                continue
        elif isinstance(item, Reject | Profile | Notice):
            found = batch.found(item)
            found.append(item)
            if len(found) < _ROWS:
                continue
        if not batch.empty:
            yield _batch(batch, file, owner)
            batch = _Gathered()
        if isinstance(item, Part):
            file = item.file
            owner = Owner(file, read)
    if not batch.empty:
        yield _batch(batch, file, owner)


@dataclass
class _Gathered:
    """The items of the next batch."""

    rows: list[Row] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)
    profiles: list[Profile] = field(default_factory=list)
    notices: list[Notice] = field(default_factory=list)
    chars: int = 0

    def found(self, item: Any) -> list[Any]:
        """Returns the list for items of this type."""
        lists: dict[type, list[Any]] = {Reject: self.rejects, Profile: self.profiles, Notice: self.notices}
        return lists[type(item)]

    @property
    def empty(self) -> bool:
        return not (self.rows or self.rejects or self.profiles or self.notices)


def _batch(gathered: _Gathered, file: TweetFile, owner: Owner) -> Batch:
    rows, rejects, notices = gathered.rows, gathered.rejects, gathered.notices
    if not rows:
        return Batch(file.label, _EMPTY, rejects, gathered.profiles, notices)
    authors, ids, texts, retweets, lines, dates, langs, likes, replies, quotes = zip(*rows, strict=True)
    wrong: dict[int, str] = {}  # reasons by row; the first reason found is kept
    text = _texts(texts, wrong)
    handle = _handles(authors, owner, wrong)
    id = _ids(ids, wrong)
    created_at, bad_dates = timestamps(dates)
    if bad_dates:
        example = f"{file.label}:{lines[bad_dates[0]]}: {str(dates[bad_dates[0]])[:40]!r}"
        notices = [*notices, Notice("dates cannot be read; these tweets count as undated", len(bad_dates), example)]
    columns = [handle, id, _repaired(text) if file.repair else text, _flags(retweets), pa.array(lines, pa.int64())]
    columns += [created_at, _strings(langs), _counts(likes), _flags(replies), _flags(quotes)]
    records = pa.RecordBatch.from_arrays(columns, schema=SCHEMA)
    if wrong:
        records = records.filter(pa.array([i not in wrong for i in range(len(rows))]))
        rejects = sorted([*rejects, *(Reject(lines[i], why) for i, why in wrong.items())], key=place)
    return Batch(file.label, records, rejects, gathered.profiles, notices)


def place(item: Any) -> float:
    """Returns the line of an item, to sort by; items of the whole file (line 0) come last."""
    return item.line or float("inf")


def _texts(values: Sequence[Any], wrong: dict[int, str]) -> pa.Array:
    column = _strings(values)
    literal = pc.match_substring_regex(column, _BYTES)
    if pc.any(literal).as_py():
        column = pa.array([_decoded(text) if text else text for text in column.to_pylist()], pa.string())
    if column.null_count:
        wrong.update(dict.fromkeys(_where(column.is_null()), "no text"))
    if (pc.max(pc.binary_length(column)).as_py() or 0) > _MAX_TEXT:
        for i in _where(pc.greater(pc.utf8_length(column), _MAX_TEXT)):
            wrong.setdefault(i, f"a text of over {_MAX_TEXT:,} characters")
    nul = pc.match_substring(column, "\0")
    if pc.any(nul).as_py():
        for i in _where(nul):
            wrong.setdefault(i, "a NUL byte in the text")
    return column


def _decoded(text: str) -> str:
    """Returns the text in a bytes literal such as b'caf\\xc3\\xa9'; any other text is returned as it is."""
    if text[:2] not in ("b'", 'b"') or text[-1] != text[1]:
        return text
    try:
        data = ast.literal_eval(text)
        return data.decode() if isinstance(data, bytes) else text
    except (ValueError, SyntaxError, MemoryError):
        return text


def _handles(values: Sequence[Any], owner: Owner, wrong: dict[int, str]) -> pa.Array:
    keys = [value if type(value) is str else _author(value) for value in values]
    known = {key: owner.author(key) for key in set(keys)}
    unknown = {key: author.reason for key, author in known.items() if isinstance(author, Unknown)}
    if unknown:
        for i, key in enumerate(keys):
            if key in unknown:
                wrong.setdefault(i, unknown[key])
    return pa.array([None if key in unknown else known[key] for key in keys], pa.string())


def _author(value: Any) -> Any:
    return value if value is None or isinstance(value, str | int | Unknown) else str(value)


def _ids(values: Sequence[Any], wrong: dict[int, str]) -> pa.Array:
    """Returns ids as strings; values that mean "no id" become ""."""
    try:
        column = pa.array(values, pa.string())
    except (TypeError, ValueError):
        column = pa.array(["" if value is None else _whole(str(value)) for value in values], pa.string())
    column = pc.fill_null(column, "")
    none = pc.is_in(pc.utf8_lower(column), value_set=_NO_IDS)
    if pc.any(none).as_py():
        column = pc.if_else(none, "", column)
    lost = pc.match_substring_regex(column, _LOST)
    if pc.any(lost).as_py():
        for i in _where(lost):
            wrong.setdefault(i, f"an id that lost its digits in a spreadsheet: {column[i].as_py()[:40]!r}")
    return column


def _strings(values: Sequence[Any]) -> pa.Array:
    """Returns strings; other values become null. Lone surrogates, which UTF-8 cannot encode, are replaced."""
    try:
        return pa.array(values, pa.string())
    except (TypeError, ValueError):
        return pa.array([_whole(value) if isinstance(value, str) else None for value in values], pa.string())


def _whole(text: str) -> str:
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _counts(values: Sequence[Any]) -> pa.Array:
    try:
        return pa.array(values, pa.int64())
    except (TypeError, ValueError, OverflowError):
        pass
    try:
        return pa.array(values, pa.string()).cast(pa.int64())
    except (TypeError, ValueError):
        return pa.array([_count(value) for value in values], pa.int64())


def _count(value: Any) -> int | None:
    digits = re.fullmatch(r"([0-9]{1,15})(\.0+)?", str(value).strip().replace(",", ""))
    return int(digits[1]) if digits and not isinstance(value, bool) else None


def _flags(values: Sequence[Any]) -> pa.Array:
    return pa.array(values, pa.bool_())


def _where(mask: pa.Array) -> Iterable[int]:
    return compress(range(len(mask)), mask.to_pylist())


def _repaired(column: pa.Array) -> pa.Array:
    import ftfy

    texts = column.to_pylist()
    return pa.array(
        [text if text is None or text.isascii() else ftfy.fix_encoding(text) for text in texts], pa.string()
    )
