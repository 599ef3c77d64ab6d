"""Parses dates in the forms that tweet files use, one column at a time, and converts them to UTC.

timestamps(["Tue May 03 20:15:31 +0000 2016", None])    # [2016-05-03 20:15:31Z, null], no bad ones

It reads ISO 8601, X's own form, seconds or milliseconds since 1970, days as numbers (`20160503`, or Excel's days since
1900), and all that dateutil reads. A date without a time zone is UTC. In an ambiguous date (3/5/2016) the month comes
first, unless no such month exists.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from dateutil import parser

TYPE = pa.timestamp("s", "UTC")
_FIRST, _LAST = 0, 4_102_444_800  # 1970 and 2100; a date outside is not the date of a tweet
_NOTHING = ("", "nan", "nat", "na", "n/a", "none", "null")
_FORMATS = (
    "%a %b %d %H:%M:%S +0000 %Y",  # X's own
    "%a %b %d %H:%M:%S %z %Y",
    "%Y-%m-%d %H:%M:%S %z",
    "%Y-%m-%d %H:%M:%S %Z",
    "%m/%d/%Y %H:%M",
    "%m/%d/%Y %H:%M:%S",
    "%m/%d/%Y %I:%M %p",
    "%m/%d/%Y %I:%M:%S %p",
    "%m/%d/%Y",
    "%d/%m/%Y %H:%M",
    "%d/%m/%Y %H:%M:%S",
    "%d/%m/%Y",
    "%d.%m.%Y %H:%M",
    "%d.%m.%Y %H:%M:%S",
    "%d.%m.%Y",
    "%m-%d-%Y %H:%M:%S",
    "%m/%d/%y %H:%M",
    "%m/%d/%y",
    "%Y/%m/%d %H:%M:%S",
    "%Y/%m/%d %H:%M",
    "%Y/%m/%d",
    "%b %d, %Y",
    "%B %d, %Y",
    "%B %d, %Y at %I:%M%p",
    "%I:%M %p · %b %d, %Y",
    "%I:%M %p - %d %b %Y",
    "%a, %d %b %Y %H:%M:%S %z",
    "%a %b %d %Y %H:%M:%S %z",  # JavaScript's
    "%a, %b %d, %Y",
    "%m/%d/%Y, %I:%M:%S %p",
    "%b %d, %Y %I:%M %p %z",
)
_SECONDS = 100_000_000  # a smaller number is a day: 20160503, or Excel's count of days from 1900
_EXCEL = datetime(1899, 12, 30, tzinfo=UTC)
_EXCEL_DAYS = range(25_569, 73_051)  # 1970 to 2100
_HOURS = {  # offset from UTC by time zone; unknown time zones count as UTC
    "PST": -8,
    "PDT": -7,
    "MST": -7,
    "MDT": -6,
    "CST": -6,
    "CDT": -5,
    "EST": -5,
    "EDT": -4,
    "AKST": -9,
    "HST": -10,
    "GMT": 0,
    "UTC": 0,
    "Z": 0,
    "BST": 1,
    "CET": 1,
    "CEST": 2,
    "EET": 2,
    "EEST": 3,
    "MSK": 3,
    "JST": 9,
    "AEST": 10,
}
_WINDOWS_HOURS = {  # the same with Windows' names, without "Standard Time" or "Daylight Time"
    "Hawaiian": -10,
    "Alaskan": -9,
    "Pacific": -8,
    "Mountain": -7,
    "Central": -6,
    "Eastern": -5,
    "Atlantic": -4,
    "GMT": 0,
    "Greenwich": 0,
    "W. Europe": 1,
    "Central Europe": 1,
    "Central European": 1,
    "Romance": 1,
    "E. Europe": 2,
    "GTB": 2,
    "FLE": 2,
    "Turkey": 3,
    "Arab": 3,
    "Russian": 3,
    "India": 5.5,
    "China": 8,
    "Singapore": 8,
    "Tokyo": 9,
    "Korea": 9,
    "AUS Eastern": 10,
    "New Zealand": 12,
}
_WINDOWS = re.compile(r"\s+((?:[A-Z][\w.]*\s+){1,3})(Standard|Daylight|Summer) Time$")
_ODD = "[\u00a0\u202f\u00b7\u2022|]+"  # spaces and dots that stand between a date and a time


def timestamps(values: Sequence[Any]) -> tuple[pa.Array, list[int]]:
    """Returns the values as an Arrow column of `TYPE`, and the positions of invalid dates, which are null in it."""
    if all(value is None for value in values):
        return pa.nulls(len(values), TYPE), []
    column = _column(values)
    if column.null_count == 0:
        return column, []
    bad = pc.and_(column.is_null(), pa.array([not _nothing(value) for value in values]))
    return column, [i for i, wrong in enumerate(bad.to_pylist()) if wrong] if pc.any(bad).as_py() else []


def _nothing(value: Any) -> bool:
    return value is None or (isinstance(value, str) and value.strip().lower() in _NOTHING)


def _column(values: Sequence[Any]) -> pa.Array:
    """Parses the whole column in one form if all values have it, else each value by itself."""
    try:
        texts = pa.array(values, pa.string())
    except (TypeError, ValueError):  # numbers, or a mixture
        return pa.array([_single(value) for value in values], TYPE)
    if texts.null_count == 0:  # the common cases, at the speed of a kernel
        first = texts[0].as_py()
        read = _seconds if first.isdecimal() else _own if first[:1].isalpha() else _iso
        try:
            return _bounded(read(texts))
        except pa.ArrowInvalid:
            pass
    texts = _plain(texts)
    blank = pc.is_in(pc.utf8_lower(pc.utf8_trim_whitespace(texts)), value_set=pa.array(_NOTHING))
    texts = pc.if_else(blank, None, texts)
    for form in _FORMATS:
        if (read := _strptime(texts, form)).null_count == texts.null_count:
            return read
    return pa.array([_single(value) for value in texts.to_pylist()], TYPE)


def _plain(texts: pa.Array) -> pa.Array:
    """Returns the texts with numeric time zones and plain spaces, as far as that is possible without parsing."""
    texts = pc.replace_substring_regex(texts, _ODD, " ")
    texts = pc.replace_substring_regex(texts, r"\b(?:GMT|UTC)([+-]\d\d):?(\d\d)(?:\s*\(.*\))?", r"\1\2")
    for name in ("PST", "PDT", "EST", "EDT", "CST", "CDT", "MST", "MDT", "CET", "CEST", "GMT", "UTC"):
        if pc.any(pc.match_substring(texts, name)).as_py():
            texts = pc.replace_substring_regex(texts, rf"\b{name}\b", f"{_HOURS[name]:+03}00")
    return pc.replace_substring_regex(texts, " {2,}", " ")


def _seconds(texts: pa.Array) -> pa.Array:
    seconds = texts.cast(pa.int64())
    if pc.max(seconds).as_py() > _LAST or pc.min(seconds).as_py() < _SECONDS:
        raise pa.ArrowInvalid("milliseconds or days, it seems")
    return seconds.cast(TYPE)


def _iso(texts: pa.Array) -> pa.Array:
    for kind in (TYPE, pa.timestamp("s"), pa.timestamp("us", "UTC")):
        try:
            return _utc(texts.cast(kind))
        except pa.ArrowInvalid:
            continue
    return _utc(texts.cast(pa.timestamp("us")))


def _own(texts: pa.Array) -> pa.Array:
    """Parses X's own form in UTC by rearranging it as ISO 8601, which is five times as fast as strptime."""
    if not pc.all(pc.match_substring_regex(texts, r"^\w{3} \w{3} \d\d \d\d:\d\d:\d\d \+0000 \d{4}$")).as_py():
        raise pa.ArrowInvalid("another form")

    def cut(start: int, stop: int) -> pa.Array:
        return pc.binary_slice(texts.cast(pa.binary()), start, stop).cast(pa.string())

    month = pc.take(_MONTHS, pc.index_in(cut(4, 7), value_set=_MONTH_NAMES))
    if month.null_count:
        raise pa.ArrowInvalid("no month")
    iso = pc.binary_join_element_wise(cut(26, 30), month, cut(8, 10), "-")
    return pc.binary_join_element_wise(iso, cut(11, 19), "T").cast(pa.timestamp("s")).cast(TYPE)


_MONTH_NAMES = pa.array(["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"])
_MONTHS = pa.array([f"{number:02}" for number in range(1, 13)])


def _strptime(texts: pa.Array, form: str) -> pa.Array:
    return _bounded(_utc(pc.strptime(texts, format=form, unit="s", error_is_null=True)))


def _utc(column: pa.Array) -> pa.Array:
    if column.type.tz is None:
        column = pc.assume_timezone(column, "UTC")
    return column.cast(TYPE, safe=False)


def _bounded(column: pa.Array) -> pa.Array:
    seconds = column.cast(pa.int64())
    inside = pc.and_(pc.greater_equal(seconds, _FIRST), pc.less(seconds, _LAST))
    return column if pc.all(inside).as_py() in (True, None) else pc.if_else(inside, column, pa.scalar(None, TYPE))


def _single(value: Any) -> int | None:
    """Returns a value as seconds since 1970, or None if it is not a date."""
    if isinstance(value, Mapping):  # as MongoDB exports it: {"$date": …}
        value = value.get("$date")
        value = value.get("$numberLong") if isinstance(value, Mapping) else value
    if _nothing(value) or isinstance(value, bool):
        return None
    try:
        if isinstance(value, datetime):
            seconds = (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
        elif isinstance(value, int | float) or re.fullmatch(r"\s*\d+(\.\d*)?\s*", value):
            return _number(float(value))
        else:
            read = _text(value.strip())
            if read is None:
                return None
            seconds = read.timestamp()
        return int(seconds) if _FIRST <= seconds < _LAST else None
    except (ValueError, OverflowError, TypeError, AttributeError, OSError):
        return None


def _number(number: float) -> int | None:
    if (
        number >= 1e13
        and number < 1e14
        and (moment := _strptime(pa.array([f"{number:.0f}"]), "%Y%m%d%H%M%S")[0].as_py())
    ):
        return int(moment.timestamp())
    for _ in range(3):  # milli-, micro- or nanoseconds
        number = number / 1000 if number > 1e11 else number
    if number < _SECONDS:
        if int(number) in _EXCEL_DAYS:
            moment = _EXCEL + timedelta(days=number)
        elif number >= 19_700_101 and number == int(number):
            moment = datetime.strptime(str(int(number)), "%Y%m%d").replace(tzinfo=UTC)
        else:
            return None
        number = round(moment.timestamp())
    return int(number) if _FIRST <= number < _LAST else None


@lru_cache(maxsize=10_000)
def _text(value: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        text = _plain(pa.array([value]))
        reads = (_strptime(text, form)[0].as_py() for form in _FORMATS)
        return next((read for read in reads if read is not None), None) or _any_form(text[0].as_py())
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _any_form(text: str) -> datetime | None:
    """Parses a text with dateutil, which would invent missing parts: None unless it has a day, a month and a year."""
    hours = 0.0
    if windows := _WINDOWS.search(text):
        hours = _WINDOWS_HOURS.get(windows[1].strip(), 0) + (windows[2] != "Standard")
        text = text[: windows.start()]
    if len(text) > 60 or not re.search(r"\d.*\d", text):
        return None
    zones = {name: timedelta(hours=number).total_seconds() for name, number in _HOURS.items()}
    defaults = (datetime(1996, 1, 30), datetime(2004, 3, 29))
    try:
        reads = [
            parser.parse(text, default=day, tzinfos=lambda name, offset: offset or zones.get(name, 0))
            for day in defaults
        ]
    except (ValueError, OverflowError, TypeError, AttributeError):
        return None
    if reads[0] != reads[1]:
        return None
    moment = reads[0] if reads[0].tzinfo else reads[0].replace(tzinfo=UTC)
    return moment - timedelta(hours=hours)
