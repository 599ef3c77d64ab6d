"""X account exports: reads the owner, the profile and the long posts from the files around the tweets.

    owner_of(file)       # the handle in account.js, else the handle of the file
    profile(file)        # name and picture, from account.js, profile.js and profile_media/
    Notes(file)          # the full texts of long posts, from note-tweet.js

Exports from before 2018 have `data/js/user_details.js` instead of account.js. Their tweets are in files such as
`data/js/tweets/2014_01.js`, and a second time in `tweets.csv`.
"""

import io
import json
import re
from collections.abc import Iterator
from typing import Any

from pyarrow import fs

from pipeline.core.names import handle_of
from pipeline.tweets.files import MAX_PICTURE, TweetFile, account_of, beside, read_small
from pipeline.tweets.json_stream import values
from pipeline.tweets.record import Notice, Profile

# the header of an old export's tweets.csv
OLD_COLUMNS = {"tweetid", "inreplytostatusid", "timestamp", "text", "retweetedstatusid", "expandedurls"}
START = r"\ufeff?\s*(window\.YTD|Grailbird\.data)\.[^=\n]*="  # a part starts with the assignment to a variable
_NOTES = 64 * 2**20  # most characters of long posts to keep in memory
_CUT = re.compile(r"…?\s*(https://t\.co/\w*)?\s*$")  # the end of a shortened text
_LONG = 200  # least characters of a shortened text
_POSTS = re.compile(r"(deleted-(tweets?|note-tweets?|community-tweets?)|articles?|periscope-.*post.*)(-part\d+)?\.js")
_EMPTY = 80  # most bytes of a part that holds no post
_START = 100  # characters at the start of a note that serve as its key


def owner_of(file: TweetFile) -> str | None:
    """Returns the handle of the export's account, or None if neither account.js nor the file gives one.

    A handle from the fleet file takes precedence over account.js.
    """
    account = {} if file.named else account_of(file.filesystem, file.path) or {}
    return handle_of(str(account.get("username") or account.get("screen_name") or "")) or file.handle


def profile(file: TweetFile) -> Profile | None:
    """Returns the profile of the export's account, or None if the export has no account.js."""
    account = account_of(file.filesystem, file.path)
    owner = owner_of(file)
    if account is None or owner is None:
        return None
    name = account.get("accountDisplayName") or account.get("full_name")
    id = account.get("accountId") or account.get("id")
    url = _avatar(read_small(file.filesystem, beside(file.path, "profile.js")).decode(errors="replace"))
    picture = _picture(file.filesystem, beside(file.path, "profile_media"), url) if url else None
    return Profile(owner, name if isinstance(name, str) else None, picture, url, str(id) if id else None)


def left_out(file: TweetFile) -> Iterator[Notice]:
    """Yields a notice for each part of the export that looks like posts and is not read.

    Only the first part (tweets.js) has such notices, so that each is reported once.
    """
    name = file.path.rpartition("/")[2]
    if name not in ("tweets.js", "tweet.js"):
        return
    beside_it = file.filesystem.get_file_info(fs.FileSelector(beside(file.path, "").rstrip("/"), allow_not_found=True))
    for info in beside_it:
        if _POSTS.fullmatch(info.base_name) and (info.size or 0) > _EMPTY:
            what = "parts of X exports look like posts and are not read"
            yield Notice(what, 1, f"{file.archive or file.path}: {info.base_name}")


def _avatar(text: str) -> str | None:
    found = re.search(r'"avatarMediaUrl"\s*:\s*("(?:[^"\\]|\\.)*")', text)
    try:
        url = json.loads(found[1]) if found else ""
    except ValueError:
        return None
    return url if url.startswith(("https://", "http://")) else None


def _picture(filesystem: fs.FileSystem, folder: str, url: str) -> bytes | None:
    """The picture, which the export keeps as profile_media/{account id}-{last part of its URL}."""
    base = url.rpartition("/")[2]
    for info in filesystem.get_file_info(fs.FileSelector(folder, allow_not_found=True)):
        if base and info.base_name.endswith(base):
            return read_small(filesystem, info.path, MAX_PICTURE) or None
    return None


class Notes:
    """The long posts of an export; tweets.js holds only their beginnings.

    The id of a note mostly differs from the id of its tweet, so `whole` also matches them by the start of the text.
    """

    def __init__(self, file: TweetFile):
        """Reads the note-tweet.js beside `file`, if there is one."""
        self._by_id: dict[str, str] = {}
        self._by_start: dict[str, list[str]] = {}
        path = beside(file.path, "note-tweet.js")
        if file.filesystem.get_file_info(path).type != fs.FileType.File:
            return
        held = 0
        with io.BufferedReader(file.filesystem.open_input_file(path)) as stream:
            for _, item in values(stream, START):
                note = _inside(item, "noteTweet")
                text = _inside(_inside(note, "core"), "text")
                if isinstance(text, str) and held < _NOTES:
                    held += len(text)
                    self._by_id[str(_inside(note, "noteTweetId"))] = text
                    self._by_start.setdefault(text[:_START], []).append(text)

    def whole(self, id: Any, text: Any) -> Any:
        """Returns the full text of the tweet `id`; without a note, its `text` in tweets.js as it is."""
        if not self._by_id or not isinstance(text, str):
            return text
        if (note := self._by_id.get(str(id))) is not None:
            return note
        start = _CUT.sub("", unescape(text))
        notes = self._by_start.get(start[:_START], ())
        return next((note for note in notes if len(start) >= _LONG and note.startswith(start)), text)


def _inside(value: Any, key: str) -> Any:
    return value.get(key) if isinstance(value, dict) else None


def unescape(text: str) -> str:
    """Cleaning rule 1: replaces the three entities that Twitter's API escapes, in this order."""
    return text.replace("&amp;", "&").replace("&lt;", "<").replace("&gt;", ">")
