"""Reads the tweets in X account exports: `window.YTD.tweets.part0 = [{"tweet": {…}}, …]` or `Grailbird.data.… = […]`.

In an export, `retweeted` is always false, so a tweet is a retweet if its text starts with "RT @". Exports from before
2018 (`Grailbird`) have `retweeted_status`, like the API. Long posts are shortened; note-tweet.js has their full text.
"""

import io
import re
from collections.abc import Iterator
from dataclasses import replace

from pipeline.core.json_file import JsonObject
from pipeline.tweets.edits import EARLIER, Edits
from pipeline.tweets.files import TweetFile
from pipeline.tweets.json_stream import values
from pipeline.tweets.json_tweet import Tweets
from pipeline.tweets.record import NOT_TWEETS, Notice, Profile, Reject, Row
from pipeline.tweets.users import Users
from pipeline.tweets.x_account import START, Notes, left_out, owner_of, profile

NEW, OLD = b"window.YTD.", b"Grailbird.data."
_KIND = re.compile(rb"window\.YTD\.(tweets?|community_tweets?)\.")
_REPLY = ("in_reply_to_status_id_str", "in_reply_to_status_id", "in_reply_to_user_id_str", "in_reply_to_user_id")
_TWEET_LINK = re.compile(r"https?://(mobile\.)?(twitter|x)\.com/\w+/status/\d+", re.IGNORECASE)


def rows(
    stream: io.BufferedReader, file: TweetFile, users: Users, head: bytes
) -> Iterator[Row | Reject | Profile | Notice]:
    """Yields the tweets and the profile in a part of an export; `head` is the start of the file, which names it."""
    file = replace(file, handle=owner_of(file))
    if head.startswith(OLD):
        yield from _old(stream, file, users)
    elif not _KIND.match(head):
        name = head.partition(b"=")[0][:60].decode(errors="replace")
        yield Reject(0, f"{NOT_TWEETS}: a part of an X export that holds none: {name}")
    elif file.handle is None:
        yield Reject(0, "an X export, but whose? name it: {path: …, handle: …}")
    else:
        yield from _new(stream, file, file.handle, users)


def _new(
    stream: io.BufferedReader, file: TweetFile, handle: str, users: Users
) -> Iterator[Row | Reject | Profile | Notice]:
    if (account := profile(file)) is not None:
        yield account
    yield from left_out(file)
    notes, edits = Notes(file), Edits(file, users.read)
    for line, item in values(stream, START):
        tweet = item.get("tweet", item) if isinstance(item, dict) else item
        if isinstance(tweet, dict):
            superseded = edits.is_superseded(tweet, tweet.get("id_str", tweet.get("id")))
            yield Reject(line, EARLIER) if superseded else _row(tweet, handle, line, notes)
        else:
            yield tweet if isinstance(tweet, Reject) else Reject(line, "not a tweet")


def _row(tweet: JsonObject, handle: str, line: int, notes: Notes) -> Row:
    text, id = tweet.get("full_text", tweet.get("text")), tweet.get("id_str", tweet.get("id"))
    reply = any(tweet.get(name) for name in _REPLY)
    return (
        *(handle, id, notes.whole(id, text), None, line),
        *(tweet.get("created_at"), tweet.get("lang"), tweet.get("favorite_count"), reply, _is_quote(tweet)),
    )


def _is_quote(tweet: JsonObject) -> bool:
    """Whether the last link of a tweet leads to another tweet: exports do not mark quotes in any other way."""
    entities = tweet.get("entities")
    urls = entities.get("urls") if isinstance(entities, dict) else None
    last = urls[-1] if isinstance(urls, list) and urls else None
    link = last.get("expanded_url") if isinstance(last, dict) else None
    return isinstance(link, str) and _TWEET_LINK.match(link) is not None


def _old(stream: io.BufferedReader, file: TweetFile, users: Users) -> Iterator[Row | Reject | Profile | Notice]:
    tweets = Tweets(file, users)
    for line, item in values(stream, START):
        if not isinstance(item, dict):
            yield item if isinstance(item, Reject) else Reject(line, "not a tweet")
            continue
        for found in tweets.rows(item, line):
            # without retweeted_status it is not a retweet, even if its text starts with "RT @"
            yield (*found[:3], bool(found[3]), *found[4:]) if type(found) is tuple else found
