"""Readers: one small module per format, all giving the same records.

    for batch in read_batches(TweetFile("tweets.js", handle="nasa")):
        batch.records, batch.rejects, batch.profiles       # Arrow columns of SCHEMA, [Reject], [Profile]
    for item in read(TweetFile("tweets.js", handle="nasa")):
        ...                                                 # the same, one Record, Reject or Profile at a time

`files.find` turns the fleet file's entries into files; the format is found by content.
"""

import csv
import zlib
from collections.abc import Iterator

from pipeline.tweets import csv_file, json_file, x_export
from pipeline.tweets.batch import Batch, batches, place
from pipeline.tweets.files import TweetFile, find, open_tweets
from pipeline.tweets.record import SCHEMA, Profile, Record, Reject, Row

__all__ = ["SCHEMA", "Batch", "Profile", "Record", "Reject", "TweetFile", "find", "read", "read_batches"]

_HEAD = 4096  # bytes that tell the format


def read(file: TweetFile) -> Iterator[Record | Reject | Profile]:
    """Every record of a file as a Record, or a Reject that says why it could not be used."""
    for batch in read_batches(file):
        columns = (column.to_pylist() for column in batch.records.columns)
        records = [Record(*row) for row in zip(*columns, strict=True)]
        found: list[Record | Reject] = [*records, *batch.rejects]
        yield from sorted(found, key=place)
        yield from batch.profiles


def read_batches(file: TweetFile) -> Iterator[Batch]:
    """The records of a file in batches, each with the rejects and profiles met on the way.

    Whatever goes wrong with the file as a whole ends in one Reject of line 0; nothing is raised.
    """
    yield from batches(items(file), file.path, file.repair)


def items(file: TweetFile) -> Iterator[Row | Reject | Profile]:
    """What the reader for the file's format yields: rows that are yet to be validated."""
    try:
        with open_tweets(file) as stream:
            head = stream.peek(_HEAD)[:_HEAD].removeprefix(b"\xef\xbb\xbf").lstrip()
            if not head:
                yield Reject(0, "the file is empty")
            elif head.startswith(x_export.PREFIX):
                yield from x_export.rows(stream, file)
            elif head[:1] in (b"{", b"["):
                yield from json_file.rows(stream, file)
            else:
                yield from csv_file.rows(stream, file)
    except (OSError, EOFError, ValueError, zlib.error, csv.Error) as error:
        yield Reject(0, f"cannot be read: {error}")
