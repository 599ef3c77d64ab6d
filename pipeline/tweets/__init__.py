"""Readers of tweets: one small module per format, and one kind of record for all of them.

    for batch in read_batches(TweetFile("tweets.js", handle="nasa")):
        batch.records, batch.rejects, batch.profiles       # Arrow columns of SCHEMA, [Reject], [Profile]
    for item in read(TweetFile("tweets.js", handle="nasa")):
        ...                                                 # the same, one Record, Reject or Profile at a time

`files_of` returns the files of a fleet. The format of a file is detected from its content.
"""

from collections.abc import Iterator

from pipeline.tweets.batch import OTHERS, Batch, batches, place, without_people
from pipeline.tweets.files import TweetFile, files_of, find
from pipeline.tweets.formats import items
from pipeline.tweets.record import SCHEMA, Notice, Profile, Record, Reject

__all__ = [
    "OTHERS",
    "SCHEMA",
    "Batch",
    "Notice",
    "Profile",
    "Record",
    "Reject",
    "TweetFile",
    "files_of",
    "find",
    "read",
    "read_batches",
]


def read_batches(file: TweetFile) -> Iterator[Batch]:
    """Yields the records of a file in batches, each with the rejects and profiles found between them.

    Raises nothing: an error of the whole file becomes one Reject with line 0.
    """
    for batch in batches(items(file), file, items):
        yield without_people(batch, file) if file.without or file.only is not None else batch


def read(file: TweetFile) -> Iterator[Record | Reject | Profile]:
    """Yields each tweet of a file as a Record, or as a Reject with the reason why it cannot be used."""
    for batch in read_batches(file):
        columns = (column.to_pylist() for column in batch.records.columns)
        records = [Record(*row) for row in zip(*columns, strict=True)]
        found: list[Record | Reject] = [*records, *batch.rejects]
        yield from sorted(found, key=place)
        yield from batch.profiles
