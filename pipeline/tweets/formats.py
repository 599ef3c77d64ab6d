"""Which format a file is in, by its content, and so which reader takes it.

for item in items(file): ...         # rows that are yet to be validated, Rejects, Profiles
"""

import re
import zipfile
import zlib
from collections.abc import Iterator

import pyarrow

from pipeline.tweets import archive, csv_file, json_file, parquet_file, x_export
from pipeline.tweets.files import TweetFile
from pipeline.tweets.opening import open_tweets
from pipeline.tweets.record import Part, Profile, Reject, Row
from pipeline.tweets.users import Users

_HEAD = 4096  # bytes that tell the format
_BOM = b"\xef\xbb\xbf"
_UNREADABLE = (
    *(OSError, EOFError, ValueError, zlib.error, pyarrow.ArrowException, zipfile.BadZipFile),
    *(RuntimeError, NotImplementedError),  # a part of a zip file that is encrypted, or packed in an unknown way
)
_JSON = re.compile(rb'\{\s*(["}]|$)|\[\s*([\[{"\]\d-]|true|false|null|$)')


def items(file: TweetFile) -> Iterator[Row | Reject | Profile | Part]:
    """What the reader for the file's format yields; a Part before what comes from each part of an archive.

    Whatever goes wrong with the file as a whole ends in one Reject of line 0; nothing is raised.
    """
    try:
        with open_tweets(file) as stream:
            head = stream.peek(_HEAD)[:_HEAD]
            text = head.removeprefix(_BOM).lstrip()
            if not text:
                yield Reject(0, "the file is empty")
            elif head.startswith(archive.MAGIC):
                yield from _parts(file)
            elif head.startswith(parquet_file.MAGIC):
                yield from parquet_file.rows(stream, file, Users(file, items))
            elif text.startswith((x_export.NEW, x_export.OLD)):
                yield from x_export.rows(stream, file, Users(file, items), text)
            elif _JSON.match(text):
                yield from json_file.rows(stream, file, Users(file, items))
            else:
                yield from csv_file.rows(stream, file)
    except _UNREADABLE as error:
        yield Reject(0, f"cannot be read: {' '.join(str(error).split())}")


def _parts(file: TweetFile) -> Iterator[Row | Reject | Profile | Part]:
    if file.archive:
        yield Reject(0, "an archive inside an archive")
        return
    found = 0
    for part in archive.parts(file):
        if isinstance(part, Reject):
            yield part
            continue
        found += 1
        yield Part(part.label)
        yield from items(part)
    if not found:
        yield Reject(0, "an archive without a file of tweets")
