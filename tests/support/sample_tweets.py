"""The tweets of the bundled sample's made-up people, as kept tweets are."""

import json

from pipeline.core.own_code import ASSETS

PEOPLE = ("captain_brine", "deptofpuddles", "moth_at_window", "nana_voltage")


def sample_tweets(handle: str) -> list[str]:
    """A person's tweets of three words or more, without retweets."""
    content = (ASSETS / "sample" / handle / "data" / "tweets.js").read_text(encoding="utf-8")
    texts = [" ".join(row["tweet"]["full_text"].split()) for row in json.loads(content.partition("=")[2])]
    return [text for text in texts if len(text.split()) >= 3 and not text.startswith("RT @") and "http" not in text]
