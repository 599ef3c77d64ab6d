"""X account exports: tweets.js, tweet.js, tweets-part1.js …: `window.YTD.tweets.part0 = [{"tweet": {…}}, …]`.

The export's `retweeted` is always false, so a retweet is text that starts with "RT @".
"""

import io
from collections.abc import Iterator

from pipeline.tweets.json_file import array_items
from pipeline.tweets.record import Record, Reject, record

PREFIX = b"window.YTD."


def records(stream: io.BufferedReader, handle: str | None) -> Iterator[Record | Reject]:
    text = stream.read().decode("utf-8-sig")
    start = text.find("[")
    if handle is None:
        yield Reject(0, "an X export, but whose? name it: {path: …, handle: …}")
        return
    if start < 0:
        yield Reject(1, "no list of tweets in it")
        return
    for line, item in array_items(text, start):
        tweet = item.get("tweet", item) if isinstance(item, dict) else item
        if isinstance(tweet, dict):
            body = tweet.get("full_text", tweet.get("text"))
            yield record(handle, tweet.get("id_str", tweet.get("id")), body, None, line)
        else:
            yield tweet if isinstance(tweet, Reject) else Reject(line, "not a tweet")
