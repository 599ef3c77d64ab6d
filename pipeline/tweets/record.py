"""What the readers give: a Record for each tweet, a Reject for what could not be used, a Profile for an account.

A reader yields rows: plain tuples in the order of Record's fields, with the values as the file has them. The author
in a row may also be an answer of authors.py. `batch.py` validates rows column by column; `Record` is one row of the
result, for those who want single tweets.
"""

from datetime import datetime
from typing import Any, NamedTuple

import pyarrow as pa

from pipeline.tweets.files import TweetFile

Row = tuple[Any, ...]  # Record's fields in their order, not yet validated


class Record(NamedTuple):
    handle: str  # lower case, without @
    id: str  # "" where the format has none
    text: str  # as the file has it, entities still escaped
    retweet: bool | None  # the format's flag; None where it has none
    line: int  # where in the file, from 1
    # what the opt-in filters go by; None where the file does not say
    created_at: datetime | None = None  # UTC, with its time zone
    lang: str | None = None  # as the file has it: "en"
    likes: int | None = None
    reply: bool | None = None
    quote: bool | None = None


class Reject(NamedTuple):
    line: int  # 0: the file as a whole
    reason: str


class Profile(NamedTuple):
    """What a file says of an account beside its tweets, for the model card."""

    handle: str
    name: str | None  # as it is displayed: "Bill Nye"
    picture: bytes | None = None  # where the file comes with one
    url: str | None = None  # of the picture, where the file only says where it was
    id: str | None = None  # of the account


class Notice(NamedTuple):
    """Something about a file that users should know and that costs no record."""

    what: str  # such as "dates that cannot be read"; files have the same words for the same thing
    number: int  # of the records, files or parts that it holds for
    example: str


class Part(NamedTuple):
    """From here on it is this part of the archive that is read."""

    file: TweetFile


SCHEMA = pa.schema(
    [
        ("handle", pa.string()),
        ("id", pa.string()),
        ("text", pa.string()),
        ("retweet", pa.bool_()),
        ("line", pa.int64()),
        ("created_at", pa.timestamp("s", "UTC")),
        ("lang", pa.string()),
        ("likes", pa.int64()),
        ("reply", pa.bool_()),
        ("quote", pa.bool_()),
    ]
)
