"""X account exports: tweets.js, tweet.js, tweets-part1.js …: `window.YTD.tweets.part0 = [{"tweet": {…}}, …]`.

The export's `retweeted` is always false, so a retweet is text that starts with "RT @".
"""

import io
import re
from collections.abc import Iterator
from typing import Any

from pipeline.tweets.files import TweetFile
from pipeline.tweets.json_stream import values
from pipeline.tweets.record import Profile, Reject, Row

PREFIX = b"window.YTD."
_REPLY = ("in_reply_to_status_id_str", "in_reply_to_status_id", "in_reply_to_user_id_str", "in_reply_to_user_id")
_TWEET_LINK = re.compile(r"https?://(mobile\.)?(twitter|x)\.com/\w+/status/\d+", re.IGNORECASE)


def rows(stream: io.BufferedReader, file: TweetFile) -> Iterator[Row | Reject | Profile]:
    if file.handle is None:
        yield Reject(0, "an X export, but whose? name it: {path: …, handle: …}")
        return
    found = values(stream, r"\ufeff?\s*window\.YTD\.[^=\n]*=")
    for line, item in found:
        tweet = item.get("tweet", item) if isinstance(item, dict) else item
        if isinstance(tweet, dict):
            yield _row(tweet, file.handle, line)
        else:
            yield tweet if isinstance(tweet, Reject) else Reject(line, "not a tweet")


def _row(tweet: dict[str, Any], handle: str, line: int) -> Row:
    text, id = tweet.get("full_text", tweet.get("text")), tweet.get("id_str", tweet.get("id"))
    reply = any(tweet.get(name) for name in _REPLY)
    return (
        *(handle, id, text, None, line, tweet.get("created_at"), tweet.get("lang"), tweet.get("favorite_count")),
        *(reply, _is_quote(tweet)),
    )


def _is_quote(tweet: dict[str, Any]) -> bool:
    """A quote ends in the link of the tweet that it quotes; the export does not mark it otherwise."""
    entities = tweet.get("entities")
    urls = entities.get("urls") if isinstance(entities, dict) else None
    last = urls[-1] if isinstance(urls, list) and urls else None
    link = last.get("expanded_url") if isinstance(last, dict) else None
    return isinstance(link, str) and _TWEET_LINK.match(link) is not None
