"""Plain text: one tweet a line, all of the person that the file's stem names.

Any prose would pass for it, so the file's name has to end in .txt; that it is neither JSON nor a table, nor
anything but text, is told from the content.
"""

import re
from collections.abc import Iterable, Iterator

from pipeline.tweets.files import TweetFile
from pipeline.tweets.record import Reject, Row
from pipeline.tweets.text_lines import Overlong, TextLines, is_decoded

_NAME = re.compile(r"\.txt(\.(gz|zst|bz2|xz))?$", re.IGNORECASE)
_MARKUP = re.compile(r"\ufeff?\s*<(!doctype|html|\?xml)", re.IGNORECASE)


def is_text(file: TweetFile, sample: list[str]) -> bool:
    return bool(_NAME.search(file.path)) and not any("\0" in line for line in sample) and not _MARKUP.match(sample[0])


def rows(text: TextLines, lines: Iterable[str], file: TweetFile) -> Iterator[Row | Reject]:
    for number, line in enumerate(lines, 1):
        tweet = line.rstrip("\r\n").lstrip("\ufeff")
        if type(line) is Overlong:
            yield Reject(number, "a line of over 16 MiB")
        elif text.escaped and not is_decoded(tweet):
            yield Reject(number, "neither UTF-8 nor Windows-1252")
        elif tweet.strip():
            yield (file.handle, None, tweet, None, number, None, None, None, None, None)
