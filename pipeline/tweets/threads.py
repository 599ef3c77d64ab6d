"""Threads: the posts in an account's own export, `threads_and_replies.json` of Meta's "Download your information".

for row in rows({"text_post_app_text_posts": [{"media": [{"title": "tea"}]}]}, 1, TweetFile("ada.json", "ada")): ...

Meta writes each byte of UTF-8 as a character of its own ("cafÃ©"); this is repaired here. Neither the posts nor the
file name the account: see `export_handle`.
"""

import json
import re
from collections.abc import Iterator

from pyarrow import fs

from pipeline.core.json_file import JsonObject
from pipeline.core.names import HANDLE
from pipeline.tweets.files import THREADS_FILE, TweetFile, parent, read_small
from pipeline.tweets.record import Reject, Row

POSTS = "text_post_app_text_posts"
_WHOSE = "an export of Threads, but whose? name it: {path: …, handle: …}"
_PROFILES = (  # beside the posts, or elsewhere in the export of the Instagram account
    "personal_information.json",
    "../../personal_information/personal_information/personal_information.json",
    "../../personal_information/personal_information.json",
)
_FOLDER = re.compile(r"(?:instagram|threads)-([\w.]+)-\d{4}-\d\d-\d\d", re.ASCII)  # as Meta calls the zip file


def rows(item: JsonObject, line: int, file: TweetFile) -> Iterator[Row | Reject]:
    """Yields a row for each post or reply of an export, and a Reject for anything else."""
    author = export_handle(file)
    posts = item[POSTS] if isinstance(item[POSTS], list) else [item[POSTS]]
    for post in posts:
        if author is None:
            yield Reject(line, _WHOSE)
        elif not isinstance(post, dict):
            yield Reject(line, "not a JSON object")
        else:
            yield _row(post, line, author)


def _row(post: JsonObject, line: int, author: str) -> Row:
    media = post["media"] if isinstance(post.get("media"), list) else [post.get("media")]
    parts = [post, *(one for one in media if isinstance(one, dict))]
    text = next((part["title"] for part in parts if isinstance(part.get("title"), str) and part["title"].strip()), "")
    when = next((part["creation_timestamp"] for part in parts if part.get("creation_timestamp")), None)
    marks = [part["text_app_post"] for part in parts if isinstance(part.get("text_app_post"), dict)]
    reply = any(mark.get("is_reply") is True for mark in marks)
    return (author, "", mended(text), False, line, when, None, None, reply, None)


def mended(text: str) -> str:
    """The text whose bytes of UTF-8 were written as characters of Latin-1; a text that was not is left alone."""
    try:
        return text.encode("latin-1").decode()
    except UnicodeError:
        return text


def export_handle(file: TweetFile) -> str | None:
    """The handle of the account that an export belongs to, or None if nothing names it.

    It is the one in the fleet file, the file's name where it is no longer Meta's, the user name in
    personal_information.json, or the one in the name of the zip file or of a folder: instagram-ada-2026-01-02-x.
    """
    if file.named or file.path.rpartition("/")[2] != THREADS_FILE:
        return file.handle
    for name in _PROFILES:
        folder = parent(file.path)
        while name.startswith("../"):
            name, folder = name.removeprefix("../"), parent(folder)
        found = _user_name(file.filesystem, f"{folder}/{name}" if folder else name)
        if found is not None:
            return found
    for name in (*reversed(file.path.split("/")[:-1]), *reversed(file.archive.split("/"))):
        if (match := _FOLDER.match(name)) and (known := _handle(match[1])):
            return known
    return None


def _user_name(filesystem: fs.FileSystem, path: str) -> str | None:
    """The account's handle in personal_information.json, or None; its fields have other names in other languages."""
    try:
        data = json.loads(read_small(filesystem, path))
        [profile] = next(iter(data.values()))
        fields = profile["string_map_data"]
    except (ValueError, TypeError, LookupError, AttributeError, StopIteration, RecursionError):
        return None
    field = fields.get("Username") if isinstance(fields, dict) else None
    name = field.get("value") if isinstance(field, dict) else None
    return _handle(name) if isinstance(name, str) else None


def _handle(name: str) -> str | None:
    handle = name.strip().lower().replace(".", "_")
    return handle if HANDLE.fullmatch(handle) else None
