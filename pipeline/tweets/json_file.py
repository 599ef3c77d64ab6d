"""JSON: one object a line (JSONL), an array of them, or documents that span lines; plain or as X's API gives them.

Known objects: `{text, screen_name}` under the usual names, tweets of the API v1.1 and v2, and v2's response pages.
"""

import io
import json
from collections.abc import Iterator
from typing import Any

import orjson

from pipeline.tweets.files import TweetFile
from pipeline.tweets.json_stream import values
from pipeline.tweets.json_tweet import Tweets
from pipeline.tweets.record import Profile, Reject, Row
from pipeline.tweets.users import Users

MAX_LINE = 16 * 2**20  # bytes; a longer line is no tweet


def rows(stream: io.BufferedReader, file: TweetFile, users: Users) -> Iterator[Row | Reject | Profile]:
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
    """Whether the file is JSONL: its first line is an object, or was meant to be one."""
    head = stream.peek(4096)
    first = head.removeprefix(b"\xef\xbb\xbf").lstrip().partition(b"\n")[0].rstrip()
    return first.startswith(b"{") and not first.endswith((b"{", b"[", b",", b":"))


def _lines(stream: io.BufferedReader) -> Iterator[tuple[int, Any]]:
    number = 0
    loads = orjson.loads
    while line := stream.readline(MAX_LINE):
        number += 1
        try:
            yield number, loads(line)
        except ValueError:
            if len(line) == MAX_LINE and not line.endswith(b"\n"):
                while len(line) == MAX_LINE and not line.endswith(b"\n"):
                    line = stream.readline(MAX_LINE)
                yield number, Reject(number, f"a line of over {MAX_LINE // 2**20} MiB")
            elif line.strip():
                yield number, _forgiving(line, number)


def _forgiving(line: bytes, number: int) -> Any:
    """What the quick parser refuses and JSON allows, or nearly: a byte order mark, lone surrogates, NaN."""
    try:
        return json.loads(line.removeprefix(b"\xef\xbb\xbf"))
    except (ValueError, RecursionError) as error:
        return Reject(number, f"broken JSON: {error}")
