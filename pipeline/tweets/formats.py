"""Detects the format of a file from its content, and reads it with the reader for that format.

for item in items(file): ...         # rows (not validated), Rejects, Profiles
"""

import io
import lzma
import re
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from typing import Any

import pyarrow

from pipeline.tweets import archive, bluesky, csv_file, json_file, parquet_file, x_export
from pipeline.tweets.byte_stream import foreign_format, open_tweets
from pipeline.tweets.files import TweetFile
from pipeline.tweets.json_tweet import Tweets
from pipeline.tweets.record import NOT_TWEETS, Notice, Part, Profile, Reject, Row
from pipeline.tweets.users import Users

_HEAD = 4096  # bytes from which the format is detected
_BOM = b"\xef\xbb\xbf"
_UNREADABLE = (
    *(OSError, EOFError, ValueError, zlib.error, lzma.LZMAError, pyarrow.ArrowException, zipfile.BadZipFile),
    *(RuntimeError, NotImplementedError),  # for parts of zip files that are encrypted or use an unknown compression
)
_JSON = re.compile(rb'(?:\d+\r?\n\s*(?=\{))?\{\s*(["}]|$)|\[\s*([\[{"\]\d-]|true|false|null|$)')


def items(file: TweetFile, look: bool = True) -> Iterator[Row | Reject | Profile | Notice | Part]:
    """Yields the items of the reader for the file's format; in an archive, a Part before the items of each part.

    With `look`, accounts of which only the id is known are looked up in tables of users. Raises nothing: an error of
    the whole file becomes one Reject with line 0.
    """
    try:
        with open_tweets(file) as stream:
            head = stream.peek(_HEAD)[:_HEAD]
            users = Users(file, items, look)
            text = head.removeprefix(_BOM).lstrip()
            if not text:
                yield Reject(0, "the file is empty")
            elif (foreign := foreign_format(head)) is not None:
                yield Reject(0, foreign)
            elif head.startswith(archive.MAGIC):
                yield from _parts(archive.parts(file), file, look)
            elif archive.is_tar(head):
                yield from _tar_parts(stream, file, look)
            elif bluesky.CAR.match(head):
                yield from _repository(stream, file, users)
            elif head.startswith(parquet_file.MAGIC):
                yield from parquet_file.rows(stream, file, users)
            elif text.startswith((x_export.NEW, x_export.OLD)):
                yield from x_export.rows(stream, file, users, text)
            elif _JSON.match(text):
                yield from json_file.rows(stream, file, users)
            else:
                yield from csv_file.rows(stream, file, users)
    except _UNREADABLE as error:
        yield Reject(0, f"cannot be read: {' '.join(str(error).split())}")


def _repository(stream: io.BufferedReader, file: TweetFile, users: Users) -> Iterator[Row | Reject | Profile]:
    tweets = Tweets(file, users)
    for number, post in bluesky.records(stream, file, users):
        yield from [post] if isinstance(post, Reject) else tweets.rows(post, number)


def _tar_parts(stream: io.BufferedReader, file: TweetFile, look: bool) -> Iterator[Any]:
    with tempfile.TemporaryDirectory() as folder:
        yield from _parts(archive.tar_parts(stream, file, folder), file, look)


def _parts(parts: Iterator[TweetFile | Reject], file: TweetFile, look: bool) -> Iterator[Any]:
    if file.archive:
        yield Reject(0, "an archive inside an archive")
        return
    found = 0
    for part in parts:
        if isinstance(part, Reject):
            yield part
            continue
        found += 1
        yield Part(part)
        yield from items(part, look)
    if not found:
        yield Reject(0, f"{NOT_TWEETS}: an archive without any")
