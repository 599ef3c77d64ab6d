"""What every reader gives: a Record for each tweet, a Reject for what could not be used."""

from datetime import datetime
from typing import Any, NamedTuple

from pipeline.names import handle_of


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


def record(handle: Any, id: Any, text: Any, retweet: bool | None, line: int) -> Record | Reject:
    """A Record of raw values, or the Reject that says which of them is unusable."""
    if not isinstance(text, str):
        return Reject(line, "no text")
    if handle is None or handle == "":
        return Reject(line, "no handle in the record, and the file's name is none")
    known = handle_of(str(handle))
    if known is None:
        return Reject(line, f"not a handle: {str(handle)[:40]!r}")
    return Record(known, "" if id is None else _whole(str(id)), _whole(text), retweet, line)


def _whole(text: str) -> str:
    """The text with lone surrogates replaced: JSON can spell them, UTF-8 cannot."""
    try:
        text.encode()
        return text
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
