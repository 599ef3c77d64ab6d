"""Edited tweets: each version of one is a tweet with an id of its own, of which only the newest is used.

Edits(file, items).is_superseded({"edit_history_tweet_ids": ["1", "2"]}, "1")     # True, if the file has tweet 2
"""

from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any

from pipeline.core.json_file import JsonObject
from pipeline.tweets.files import TweetFile

EARLIER = "an earlier version of an edited tweet; the newest one counts"


class Edits:
    """The versions of edited tweets that a file holds."""

    def __init__(self, file: TweetFile, read: Callable[..., Iterator[Any]] | None):
        """`read` reads the file a second time, for the ids in it; without it, no version counts as superseded."""
        self._file, self._read = file, read

    def is_superseded(self, tweet: JsonObject, id: Any) -> bool:
        """Whether a tweet was edited later and the file also holds its newest version.

        The API v2 lists the versions as `edit_history_tweet_ids`, oldest first; X's exports have them in `edit_info`,
        X's web page in `edit_control`.
        """
        versions = tweet.get("edit_history_tweet_ids")
        versions = versions or _versions(tweet.get("edit_info")) or _versions(tweet.get("edit_control"))
        if not isinstance(versions, list) or self._read is None or str(id) not in map(str, versions[:-1]):
            return False
        return str(versions[-1]) in self._ids

    @cached_property
    def _ids(self) -> set[str]:
        assert self._read is not None
        return {str(row[1]) for row in self._read(self._file, False) if type(row) is tuple}


def _versions(value: Any) -> Any:
    """Returns the list of versions, which may be nested at any depth in `edit_info` or `edit_control`."""
    if not isinstance(value, dict):
        return None
    found = value.get("editTweetIds") or value.get("edit_tweet_ids")
    return found or next(filter(None, map(_versions, value.values())), None)
