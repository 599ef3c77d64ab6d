"""JSON: one object a line (JSONL), or an array of them; plain `{text, screen_name}` or X API objects."""

import io
import json
from collections.abc import Iterator
from typing import Any

from pipeline.tweets.record import Record, Reject, record

MAX_LINE = 16 * 2**20  # bytes; a longer line is no tweet
_TEXT = ("full_text", "text", "tweet", "content")
_USER = ("screen_name", "username", "handle", "user", "author")
_ID = ("id_str", "tweet_id", "id")


def records(stream: io.BufferedReader, handle: str | None) -> Iterator[Record | Reject]:
    if stream.peek(64).removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"[":
        text = stream.read().decode("utf-8-sig")
        items = array_items(text, text.index("["))
    else:
        items = _lines(stream)
    for line, item in items:
        if isinstance(item, Reject):
            yield item
        elif isinstance(item, dict):
            yield _record(item, handle, line)
        else:
            yield Reject(line, "not a JSON object")


def array_items(text: str, start: int) -> Iterator[tuple[int, Any]]:
    """(line, item) for each item of the JSON array at `start`; a Reject where the JSON breaks off."""
    decode = json.JSONDecoder().raw_decode
    line, counted, at = 1, 0, _skip(text, start + 1)
    while at < len(text) and text[at] != "]":
        line, counted = line + text.count("\n", counted, at), at
        try:
            item, at = decode(text, at)
        except (ValueError, RecursionError) as error:
            yield line, Reject(line, f"broken JSON, nothing readable from here on: {error}")
            return
        yield line, item
        at = _skip(text, at)
    if at >= len(text):
        yield line, Reject(line, "the list of tweets breaks off")
    elif text[at + 1 :].strip(" \t\r\n;"):
        line += text.count("\n", counted, at)
        yield line, Reject(line, "the list of tweets ends here; what follows it is not read")


def _skip(text: str, at: int) -> int:
    """The next position that is neither white space nor a comma."""
    while at < len(text) and text[at] in " \t\r\n,":
        at += 1
    return at


def _lines(stream: io.BufferedReader) -> Iterator[tuple[int, Any]]:
    number = 0
    while line := stream.readline(MAX_LINE):
        number += 1
        if len(line) == MAX_LINE and not line.endswith(b"\n"):
            while len(line) == MAX_LINE and not line.endswith(b"\n"):
                line = stream.readline(MAX_LINE)
            yield number, Reject(number, f"a line of over {MAX_LINE // 2**20} MiB")
        elif line.strip():
            try:
                yield number, json.loads(line.removeprefix(b"\xef\xbb\xbf"))
            except (ValueError, RecursionError) as error:
                yield number, Reject(number, f"broken JSON: {error}")


def _record(item: dict[str, Any], handle: str | None, line: int) -> Record | Reject:
    extended = item.get("extended_tweet")
    text = extended.get("full_text") if isinstance(extended, dict) else _first(item, _TEXT)
    return record(_user(item) or handle, _first(item, _ID), text, _retweet(item), line)


def _first(item: dict[str, Any], keys: tuple[str, ...]) -> Any:
    return next((item[key] for key in keys if item.get(key) is not None), None)


def _user(item: dict[str, Any]) -> Any:
    user = _first(item, _USER)
    return _first(user, _USER[:2]) if isinstance(user, dict) else user


def _retweet(item: dict[str, Any]) -> bool | None:
    """The format's own flag, if it has one. (v1.1's `retweeted` only says what the reader of it did.)"""
    if "is_retweet" in item:
        return item["is_retweet"] is True or str(item["is_retweet"]).lower() in ("true", "1")
    if "retweeted_status" in item:
        return item["retweeted_status"] is not None
    references = item.get("referenced_tweets")
    if isinstance(references, list):
        return any(isinstance(one, dict) and one.get("type") == "retweeted" for one in references)
    return False if "retweet_count" in item or "author_id" in item else None
