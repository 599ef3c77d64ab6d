"""Reads plain text files: each line is a tweet, and the file's name is the author.

Any prose looks like such a file, so its name must end in .txt. Its content must be text, and neither JSON, a table,
HTML nor XML.
"""

import re
from collections.abc import Iterable, Iterator

from pipeline.tweets.files import TweetFile
from pipeline.tweets.record import Reject, Row
from pipeline.tweets.text_lines import Overlong, TextLines, is_decoded

_NAME = re.compile(r"\.txt(\.(gz|zst|bz2|xz))?$", re.IGNORECASE)
_PROSE = re.compile(r"(readme|licen[cs]e|copying|notice|requirements|changelog|robots)[.\w-]*", re.IGNORECASE)
_MARKUP = re.compile(r"\ufeff?\s*<(!doctype|html|\?xml)", re.IGNORECASE)


def is_text(file: TweetFile, sample: list[str]) -> bool:
    """Whether the file is plain text, by its name and its first lines (`sample`, at least one).

    What lies beside data sets (`LICENSE.txt`) is not, unless the fleet file says whose tweets it holds.
    """
    if not file.named and _PROSE.fullmatch(file.path.rpartition("/")[2]):
        return False
    return bool(_NAME.search(file.path)) and not any("\0" in line for line in sample) and not _MARKUP.match(sample[0])


def rows(text: TextLines, lines: Iterable[str], file: TweetFile) -> Iterator[Row | Reject]:
    """Yields one row for each of `lines` that is not blank; `text` is the reader that the lines come from."""
    for number, line in enumerate(lines, 1):
        tweet = line.rstrip("\r\n").lstrip("\ufeff")
        if type(line) is Overlong:
            yield Reject(number, "a line of over 16 MiB")
        elif text.escaped and not is_decoded(tweet):
            yield Reject(number, "neither UTF-8 nor Windows-1252")
        elif tweet.strip():
            yield (file.handle, None, tweet, None, number, None, None, None, None, None)
