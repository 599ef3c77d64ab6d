"""Whether a record is a retweet, a reply or a quote, by what the file says of it: yes, no, or nothing at all.

    test = flag("retweet", "is_retweet")
    test("True"), test("false"), test("")            # True, False, None
    flag("retweet", "type")("tweet")                 # None: it says nothing about retweets

Where a file says nothing, the tweet's text decides (prepare/rules.py).
"""

from collections.abc import Callable, Iterable
from typing import Any

from pipeline.tweets.columns import plain_name

Test = Callable[[Any], bool | None]
NOTHING = frozenset(("", "nan", "none", "null", "nat", "<na>", "undefined"))  # what stands for a value that is none
_LONGEST_NO = 9
_YES = ("true", "t", "yes", "y")
_NO = ("false", "f", "no", "n")
_KINDS = {  # what a `type` column calls them, as plain names
    "retweet": ("rt", "retweet", "retweeted", "retweetedtweet", "repost", "reposted", "reblog", "boost"),
    "reply": ("r", "reply", "replied", "repliedto", "replytweet"),
    "quote": ("q", "quote", "quoted", "quotetweet", "quotedtweet"),
}


def flag(field: str, name: str) -> Test:
    """The test of a value in the column `name`: whether it says yes or no to `field` (retweet, reply or quote)."""
    plain = plain_name(name)
    if plain in ("type", "tweettype", "posttype"):
        return _kind(field)
    if plain.startswith("is"):
        return _counted_word
    if plain in ("retweet", "reply", "quote"):
        return _word_or_kind(field)  # a number in it counts how often the tweet was retweeted
    return _refers


def answer(answers: Iterable[bool | None]) -> bool | None:
    """The answer of several columns together: one yes is a yes; else a no, where some column says it."""
    found = None
    for one in answers:
        if one:
            return True
        found = found if one is None else False
    return found


def _refers(value: Any) -> bool | None:
    """A value that points to another tweet or account, or is that tweet: blank, it says no."""
    if not value:
        return False
    text = str(value)
    return len(text) > _LONGEST_NO or text.strip().lower() not in (*NOTHING, *_NO, "0", "0.0")


def _word(value: Any) -> bool | None:
    if isinstance(value, bool):
        return value
    word = str(value).strip().lower() if isinstance(value, str) else ""
    return True if word in _YES else False if word in _NO else None


def _counted_word(value: Any) -> bool | None:
    """A flag proper, for which 1 and 0 are words too."""
    if value is True or value is False:
        return value
    if isinstance(value, int | float) and value in (0, 1):
        return bool(value)
    text = value.strip() if isinstance(value, str) else ""
    return _word({"1": "yes", "1.0": "yes", "0": "no", "0.0": "no"}.get(text, value))


def _kind(field: str) -> Test:
    others = {kind for kinds in _KINDS.values() for kind in kinds} - set(_KINDS[field])

    def is_kind(value: Any) -> bool | None:
        if value is None or not isinstance(value, str):
            return None
        kind = plain_name(value.partition(":")[0])
        if kind in _KINDS[field]:
            return True
        return False if kind in others or kind in NOTHING else None

    return is_kind


def _word_or_kind(field: str) -> Test:
    kind = _kind(field)

    def says(value: Any) -> bool | None:
        answer = _word(value)
        return kind(value) or None if answer is None else answer

    return says
