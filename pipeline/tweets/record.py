"""The types that readers return: Record for a tweet, Reject for unusable content, Profile for an account.

A reader of one format yields rows: plain tuples in the order of Record's fields, with the values as the file has them.
The author in a row may also be an Unknown or LinkAuthor of authors.py. batch.py validates rows column by column; a
Record is one validated row.
"""

from datetime import datetime
from typing import Any, NamedTuple, TypedDict

import pyarrow as pa

from pipeline.tweets.files import TweetFile

NOT_TWEETS = "not a file of posts"  # how the reason begins for a file that was not meant to hold any

Row = tuple[Any, ...]  # Record's fields in their order, not yet validated


class Record(NamedTuple):
    """One validated tweet. Where the file does not have a value, `id` is empty and the optional fields are None."""

    handle: str  # lower case, without @
    id: str  # "" if the file has none
    text: str  # as in the file, with its entities still escaped
    retweet: bool | None  # by a field of the file; None if no field says
    line: int  # in the file, from 1
    # used by the optional filters
    created_at: datetime | None = None  # with the time zone UTC
    lang: str | None = None  # as in the file: "en"
    likes: int | None = None
    reply: bool | None = None
    quote: bool | None = None


class FlatPost(TypedDict, total=False):
    """A post of a network other than X as one flat object, not yet validated; json_tweet.py reads it like a tweet."""

    id: Any
    text: Any
    created_at: Any
    lang: Any
    likes: Any
    author: Any  # a name, a URL, an id or an account object
    account: Any  # an account object; in place of `author`
    is_retweet: bool | None
    is_reply: bool
    is_quote: bool


class Reject(NamedTuple):
    """A line, or a whole file, that could not be used."""

    line: int  # from 1; 0 for the whole file
    reason: str


class Profile(NamedTuple):
    """An account that a file describes, for the model card."""

    handle: str
    name: str | None  # the display name: "Bill Nye"
    picture: bytes | None = None  # the image file, if it comes with the tweets
    url: str | None = None  # of the picture
    id: str | None = None  # of the account


class Notice(NamedTuple):
    """Something about a file that users should know, and that rejects no record."""

    what: str  # for instance "dates that cannot be read"; notices with the same text are added up
    number: int  # how many records, files or parts it concerns
    example: str


class Part(NamedTuple):
    """Marks the start of a part of an archive: the items after it come from `file`."""

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
