"""Rows as the readers find them become columns: validated, typed, a batch at a time.

    for batch in batches(rows, "tweets.csv", repair=False):
        batch.records["text"], batch.rejects          # an Arrow column, [Reject(line, reason), …]

Working on columns makes checking cheap; a row that cannot be used costs that row alone and is named by its line.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import compress
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core.names import handle_of
from pipeline.tweets.dates import timestamps
from pipeline.tweets.record import SCHEMA, Part, Profile, Reject, Row

_ROWS = 10_000  # in a batch
_CHARS = 16 * 2**20  # of text in a batch, where tweets are uncommonly long
_MAX_TEXT = 2**20  # characters; a longer text is no tweet
_EMPTY = pa.RecordBatch.from_pylist([], schema=SCHEMA)
_LOST = r"^\s*\d+([.,]\d+)?[eE]\+?\d+\s*$|^\s*\d{16,}\.0*\s*$"  # 1.23E+18: a spreadsheet keeps 15 digits


@dataclass
class Batch:
    """Some records of one file, in its order, and what else was met among them."""

    path: str  # of the file; for a part of an archive, the archive's and the part's
    records: pa.RecordBatch  # of `SCHEMA`
    rejects: list[Reject] = field(default_factory=list)
    profiles: list[Profile] = field(default_factory=list)


def passed_over(batch: Batch, handles: frozenset[str]) -> Batch:
    """The batch without what it holds of these people."""
    theirs = pc.is_in(batch.records["handle"], value_set=pa.array(sorted(handles), pa.string()))
    profiles = [profile for profile in batch.profiles if profile.handle not in handles]
    return Batch(batch.path, batch.records.filter(pc.invert(theirs)), batch.rejects, profiles)


def batches(items: Iterable[Row | Reject | Profile | Part], path: str, repair: bool) -> Iterator[Batch]:
    """What a reader yields, in batches. `repair`: mend text that was decoded with the wrong encoding."""
    rows: list[Row] = []
    rejects: list[Reject] = []
    profiles: list[Profile] = []
    chars = 0
    for item in items:
        if type(item) is tuple:
            rows.append(item)
            chars += len(item[2]) if type(item[2]) is str else 0
            if len(rows) < _ROWS and chars < _CHARS:
                continue
        elif isinstance(item, Reject):
            rejects.append(item)
            if len(rejects) < _ROWS:
                continue
        elif isinstance(item, Profile):
            profiles.append(item)
            if len(profiles) < _ROWS:
                continue
        if rows or rejects or profiles:
            yield _batch(rows, path, rejects, profiles, repair)
            rows, rejects, profiles, chars = [], [], [], 0
        if isinstance(item, Part):
            path = item.path
    if rows or rejects or profiles:
        yield _batch(rows, path, rejects, profiles, repair)


def _batch(rows: list[Row], path: str, rejects: list[Reject], profiles: list[Profile], repair: bool) -> Batch:
    if not rows:
        return Batch(path, _EMPTY, rejects, profiles)
    handles, ids, texts, retweets, lines, dates, langs, likes, replies, quotes = zip(*rows, strict=True)
    wrong: dict[int, str] = {}  # row: reason; the first one found stays
    text = _texts(texts, wrong)
    handle = _handles(handles, wrong)
    id = _ids(ids, wrong)
    created_at, bad_dates = timestamps(dates)
    for i in bad_dates:
        wrong.setdefault(i, f"not a date: {str(dates[i])[:40]!r}")
    columns = [handle, id, _repaired(text) if repair else text, _flags(retweets), pa.array(lines, pa.int64())]
    columns += [created_at, _strings(langs), _counts(likes), _flags(replies), _flags(quotes)]
    records = pa.RecordBatch.from_arrays(columns, schema=SCHEMA)
    if wrong:
        records = records.filter(pa.array([i not in wrong for i in range(len(rows))]))
        rejects = sorted([*rejects, *(Reject(lines[i], why) for i, why in wrong.items())], key=place)
    return Batch(path, records, rejects, profiles)


def place(item: Any) -> float:
    """Where in the file something is, to sort by; what holds for the file as a whole comes last."""
    return item.line or float("inf")


def _texts(values: Sequence[Any], wrong: dict[int, str]) -> pa.Array:
    column = _strings(values)
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


def _handles(values: Sequence[Any], wrong: dict[int, str]) -> pa.Array:
    keys = [value if type(value) is str else "" if value is None else str(value) for value in values]
    known = {key: handle_of(key) for key in set(keys)}
    if not all(known.values()):
        for i, key in enumerate(keys):
            if not known[key]:
                none = "no handle in the record, and the file's name is none"
                wrong.setdefault(i, none if key == "" else f"not a handle: {key[:40]!r}")
    return pa.array([known[key] for key in keys], pa.string())


def _ids(values: Sequence[Any], wrong: dict[int, str]) -> pa.Array:
    try:
        column = pa.array(values, pa.string())
    except (TypeError, ValueError):
        column = pa.array(["" if value is None else _whole(str(value)) for value in values], pa.string())
    column = pc.fill_null(column, "")
    lost = pc.match_substring_regex(column, _LOST)
    if pc.any(lost).as_py():
        for i in _where(lost):
            wrong.setdefault(i, f"an id that lost its digits in a spreadsheet: {column[i].as_py()[:40]!r}")
    return column


def _strings(values: Sequence[Any]) -> pa.Array:
    """Strings; what is none becomes null, a lone surrogate (JSON can spell one, UTF-8 cannot) is replaced."""
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
