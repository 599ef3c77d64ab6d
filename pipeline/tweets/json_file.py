"""Reads JSON files: one object per line (JSONL), an array of objects, or objects that span lines.

json_tweet.py reads the objects: `{text, screen_name}` under their usual names, tweets of X's API v1.1 and v2, and
response pages.
"""

import io
import json
import re
from collections.abc import Iterator
from typing import Any

import orjson

from pipeline.tweets.files import TweetFile
from pipeline.tweets.json_stream import MAX_DOCUMENT, values
from pipeline.tweets.json_tweet import Tweets
from pipeline.tweets.record import Profile, Reject, Row
from pipeline.tweets.users import Users

_LENGTH = re.compile(rb"\d+\s*\n\s*(?=\{)")  # the length that X's streaming API sends before each tweet
_BETWEEN = re.compile(r"[\s,\x1e]*")
MAX_LINE = MAX_DOCUMENT  # bytes; a longer line is rejected


def rows(stream: io.BufferedReader, file: TweetFile, users: Users) -> Iterator[Row | Reject | Profile]:
    """Yields the tweets and accounts of a JSON file, and a Reject for each value that cannot be used."""
    tweets = Tweets(file, users)
    items = _lines(stream) if _one_a_line(stream) else values(stream)
    for line, item in items:
        if type(item) is dict:
            if (row := tweets.plain(item, line)) is not None:
                yield row
            else:
                yield from tweets.rows(item, line)
        elif isinstance(item, Reject):
            yield item
        else:
            yield Reject(line, "not a JSON object")


def _one_a_line(stream: io.BufferedReader) -> bool:
    """Whether the file is JSONL: its first line is an object, even a broken one; a length may precede it."""
    head = stream.peek(4096).removeprefix(b"\xef\xbb\xbf").lstrip()
    first = _LENGTH.sub(b"", head).partition(b"\n")[0].rstrip()
    return first.startswith(b"{") and not first.endswith((b"{", b"[", b",", b":"))


def _lines(stream: io.BufferedReader) -> Iterator[tuple[int, Any]]:
    """Yields (line number, value or Reject) of a JSONL file."""
    number = 0
    loads = orjson.loads
    lengths = _LENGTH.match(stream.peek(4096)) is not None
    while line := stream.readline(MAX_LINE):
        number += 1
        try:
            value = loads(line)
            if lengths and type(value) is int:
                continue
            yield number, value
        except ValueError:
            if len(line) == MAX_LINE and not line.endswith(b"\n"):
                while len(line) == MAX_LINE and not line.endswith(b"\n"):
                    line = stream.readline(MAX_LINE)
                yield number, Reject(number, f"a line of over {MAX_LINE // 2**20} MiB")
            elif line.strip():
                yield from ((number, value) for value in _forgiving(line, number))


def _forgiving(line: bytes, number: int) -> Iterator[Any]:
    """Parses what orjson refuses: a byte order mark, lone surrogates, NaN, several objects on one line."""
    at, parse = 0, json.JSONDecoder().raw_decode
    try:
        text = line.decode("utf-8-sig").strip()
        while at < len(text):
            value, end = parse(text, at)
            if at and type(value) is not dict:
                raise ValueError("something that is no object behind an object")
            yield value
            at = _BETWEEN.match(text, end).end()  # type: ignore[union-attr]
    except (ValueError, RecursionError) as error:
        yield Reject(number, f"broken JSON: {error}")
