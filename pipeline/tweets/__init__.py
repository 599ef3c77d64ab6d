"""Readers: one small module per format, all giving the same records.

    for item in read(TweetFile("tweets.js", handle="nasa")):
        ...                                   # Record or Reject

`files.find` turns the fleet file's entries into files; `read` finds the format by content.
"""

import csv
import zlib
from collections.abc import Iterator

from pipeline.tweets import csv_file, json_file, x_export
from pipeline.tweets.files import TweetFile, find, open_tweets
from pipeline.tweets.record import Record, Reject

__all__ = ["Record", "Reject", "TweetFile", "find", "read"]

_HEAD = 4096  # bytes that tell the format


def read(file: TweetFile) -> Iterator[Record | Reject]:
    """Every record of a file as a Record, or a Reject that says why it could not be used.

    Whatever goes wrong with the file as a whole ends in one Reject of line 0; nothing is raised.
    """
    try:
        with open_tweets(file) as stream:
            head = stream.peek(_HEAD)[:_HEAD].removeprefix(b"\xef\xbb\xbf").lstrip()
            if not head:
                yield Reject(0, "the file is empty")
            elif head.startswith(x_export.PREFIX):
                yield from x_export.records(stream, file.handle)
            elif head[:1] in (b"{", b"["):
                yield from json_file.records(stream, file.handle)
            else:
                yield from csv_file.records(stream, file.handle)
    except (OSError, EOFError, ValueError, zlib.error, csv.Error) as error:
        yield Reject(0, f"cannot be read: {error}")
