"""Reddit: the posts and comments of an account's own export, and those of dumps and of the API, each with its author.

    flat({"subreddit": "tea", "author": "Ada-Wren", "body": "Cold, please."})
    # {"text": "Cold, please.", "author": "ada_wren", "is_reply": True, …}: the form that json_tweet.py reads

Quoted lines (`> …`) are other people's words and are left out. A post's title is put before its text. What was deleted
or removed is not read. An export does not name its account in posts.csv and comments.csv: see `export_handle`.
"""

import csv
import io
import re
from collections.abc import Iterable
from typing import Any

from pipeline.core.json_file import JsonObject
from pipeline.core.names import HANDLE
from pipeline.tweets.columns import plain_name
from pipeline.tweets.files import TweetFile, beside, read_small
from pipeline.tweets.flags import NOTHING
from pipeline.tweets.record import FlatPost

WHOSE = "an export of Reddit, but whose? name it: {path: …, handle: …}"
_EXPORT = {"id", "permalink", "date", "subreddit", "body"}  # columns of both tables in an export
_TEXTS = ("body", "selftext", "text", "content")  # where the text of a post or comment is; dumps differ
KEYS = frozenset(("subreddit", "author", "title", "name", "created_utc", "score", "crosspost_parent", *_TEXTS))
_GONE = {"[deleted]", "[removed]", "[deleted by user]", "[ removed by reddit ]", "[removed by reddit]"}
_QUOTED = re.compile(r"^ {0,3}(?:>(?!!)|&gt;(?!!)).*\n?", re.MULTILINE)  # but ">!" hides a spoiler
_ARCHIVE = re.compile(r"export_(\w[\w-]*?)_\d{8}")  # as Reddit calls the zip file


def is_export(names: Iterable[str]) -> bool:
    """Whether a table with these columns is posts.csv or comments.csv of an export."""
    plain = set(map(plain_name, names))
    return plain >= _EXPORT and not {"author", "username"} & plain


def is_table(names: Iterable[str]) -> bool:
    """Whether a table with these columns holds posts or comments of Reddit, each with its author or of an export."""
    plain = set(map(plain_name, names))
    return is_export(plain) or (plain >= {"subreddit", "author"} and not plain.isdisjoint(("title", *_TEXTS)))


def is_messages(names: Iterable[str]) -> bool:
    """Whether a table with these columns holds private messages."""
    return set(map(plain_name, names)) >= {"from", "to", "subject", "body"}


def flat(item: JsonObject) -> FlatPost | str | None:
    """Returns a post or comment as one flat object, the reason why it is not read, or None for other objects."""
    if "subreddit" not in item or "author" not in item or not ("title" in item or any(key in item for key in _TEXTS)):
        return None
    author, title = item["author"], _string(item.get("title"))
    body = next((text for key in _TEXTS if (text := _string(item.get(key)))), "")
    if not _is_given(author) or _is_gone(author):
        return "a post of Reddit whose account was deleted"
    if _is_gone(body) or _is_gone(title):
        return "deleted or removed on Reddit"
    id = f"t{3 if title else 1}_{item['id']}" if _is_given(item.get("id")) else None
    return {
        "id": id,  # a post and a comment may have the same one
        "text": "\n\n".join(filter(None, (title, _QUOTED.sub("", body).strip()))),
        "created_at": item.get("created_utc") or item.get("date"),
        "likes": item.get("score"),
        "author": handle(author) if isinstance(author, str) else author,
        "is_retweet": _is_given(item.get("crosspost_parent")),
        "is_reply": not title,
        "is_quote": False,
    }


def handle(name: str) -> str:
    """The handle of an account of Reddit, by its name or `u/name`; the name itself where it cannot be one."""
    plain = name.strip().lower().removeprefix("/").removeprefix("u/").replace("-", "_")
    return plain if HANDLE.fullmatch(plain) else name


def export_handle(file: TweetFile) -> str | None:
    """The handle of the account that an export belongs to, or None if nothing names it.

    It is the one in the fleet file, the file's name where it is no longer posts.csv or comments.csv, the account name
    in statistics.csv, or the one in the name of the zip file or of its folder: export_ada_20260102.
    """
    if file.named or file.path.rpartition("/")[2].lower() not in ("posts.csv", "comments.csv"):
        return file.handle
    data = read_small(file.filesystem, beside(file.path, "statistics.csv")).decode(errors="replace")
    for row in csv.reader(io.StringIO(data.replace("\0", ""))):
        if len(row) > 1 and row[0].strip().lower() == "account name" and HANDLE.fullmatch(known := handle(row[1])):
            return known
    for name in (*reversed(file.path.split("/")[:-1]), *reversed(file.archive.split("/"))):
        if (found := _ARCHIVE.match(name)) and HANDLE.fullmatch(known := handle(found[1])):
            return known
    return None


def _is_gone(value: Any) -> bool:
    return isinstance(value, str) and value.strip().lower() in _GONE


def _is_given(value: Any) -> bool:
    return value is not None and value is not False and str(value).strip().lower() not in NOTHING


def _string(value: Any) -> str:
    return value if isinstance(value, str) and _is_given(value) else ""
