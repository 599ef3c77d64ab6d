"""Readers: one small module per format, all giving the same records.

    for batch in read_batches(TweetFile("tweets.js", handle="nasa")):
        batch.records, batch.rejects, batch.profiles       # Arrow columns of SCHEMA, [Reject], [Profile]
    for item in read(TweetFile("tweets.js", handle="nasa")):
        ...                                                 # the same, one Record, Reject or Profile at a time

`files_of` gives the files of a fleet; the format is found by content.
"""

from collections.abc import Iterator

from pipeline.tweets.batch import OTHERS, Batch, batches, passed_over, place
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
    """The records of a file in batches, each with the rejects and profiles met on the way.

    Whatever goes wrong with the file as a whole ends in one Reject of line 0; nothing is raised.
    """
    for batch in batches(items(file), file, items):
        yield passed_over(batch, file) if file.without or file.only is not None else batch


def read(file: TweetFile) -> Iterator[Record | Reject | Profile]:
    """Every record of a file as a Record, or a Reject that says why it could not be used."""
    for batch in read_batches(file):
        columns = (column.to_pylist() for column in batch.records.columns)
        records = [Record(*row) for row in zip(*columns, strict=True)]
        found: list[Record | Reject] = [*records, *batch.rejects]
        yield from sorted(found, key=place)
        yield from batch.profiles
