"""Interprets columns that mark a record as a retweet, a reply or a quote: yes, no, or no information.

    test = flag("retweet", "is_retweet")
    test("True"), test("false"), test("")            # True, False, None
    flag("retweet", "type")("tweet")                 # None: no information about retweets

Without any information in the file, the text of the tweet decides (prepare/rules.py).
"""

from collections.abc import Callable, Iterable
from typing import Any

from pipeline.tweets.columns import plain_name

Test = Callable[[Any], bool | None]
# texts that mean that there is no value
NOTHING = frozenset(("", "nan", "none", "null", "nat", "na", "n/a", "<na>", "undefined"))
_LONGEST_NO = 9
_YES = ("true", "t", "yes", "y")
_NO = ("false", "f", "no", "n")
_KINDS = {  # their names in a `type` column, as plain names
    "retweet": ("rt", "retweet", "retweeted", "retweetedtweet", "repost", "reposted", "reblog", "boost"),
    "reply": ("r", "reply", "replied", "repliedto", "replytweet"),
    "quote": ("q", "quote", "quoted", "quotetweet", "quotedtweet"),
}


def flag(field: str, name: str) -> Test:
    """Returns the function that tests values of the column `name` for `field` (retweet, reply or quote)."""
    plain = plain_name(name)
    if plain in ("type", "tweettype", "posttype"):
        return _kind(field)
    if plain == "verb":  # of activities
        return lambda value: {"share": True, "post": False}.get(value) if isinstance(value, str) else None
    if plain.startswith("is"):
        return _counted_word
    if plain in ("retweet", "reply", "quote"):
        return _word_or_kind(field)  # a number in it counts how often the tweet was retweeted
    return _refers


def answer(answers: Iterable[bool | None]) -> bool | None:
    """Combines the answers of several columns: True if any is True, else False if any is False, else None."""
    found = None
    for one in answers:
        if one:
            return True
        found = found if one is None else False
    return found


def _refers(value: Any) -> bool | None:
    """Tests a value that refers to another tweet or account, or contains it; a blank value means no."""
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
    """Tests a value of a true-or-false column, in which 1 and 0 also mean yes and no."""
    if value is True or value is False:
        return value
    if isinstance(value, int | float) and value in (0, 1):
        return bool(value)
    text = value.strip() if isinstance(value, str) else ""
    return _word({"1": "yes", "1.0": "yes", "0": "no", "0.0": "no"}.get(text, value))


def _kind(field: str) -> Test:
    others = {kind for kinds in _KINDS.values() for kind in kinds} - set(_KINDS[field])

    def is_kind(value: Any) -> bool | None:
        if not isinstance(value, str):
            return None
        kind = plain_name(value.partition(":")[0])
        if kind in _KINDS[field]:
            return True
        return False if kind in others or kind in NOTHING else None

    return is_kind


def _word_or_kind(field: str) -> Test:
    kind = _kind(field)

    def word_or_kind(value: Any) -> bool | None:
        answer = _word(value)
        return kind(value) or None if answer is None else answer

    return word_or_kind
