"""The cleaning rules, pure: what of a tweet is kept, and what is counted and left out.

They are the original huggingtweets' rules, so the counts in a model card mean what they always meant.

    clean("so good &amp; new https://t.co/abc", retweet=False)   # ("kept", "so good & new")
"""

import re
from typing import Literal

from pipeline.prepare.held_out import held_out_count, key_hash
from pipeline.prepare.rules import MIN_WORDS
from pipeline.tweets.export import unescape

Verdict = Literal["kept", "retweet", "short"]

# Rule 3, in its order: for each scheme a link with a space before it goes first, then one with a space
# after it, then one on a new line, then any that is left. The order decides which blanks survive.
_LINKS = [
    re.compile(pattern.format(scheme))
    for scheme in ("http:", "https:")
    for pattern in (r" {}\S+", r"{}\S+ ", r"\n{}\S+", r"{}\S+")
]
_NOT_WORDS = ("http", "@", "#")


def clean(text: str, retweet: bool | None) -> tuple[Verdict, str]:
    """The verdict on a tweet and its cleaned text ("" for a retweet).

    `retweet` is the record's flag, or None where the format has none: then "RT @" at the start tells.
    """
    if retweet or (retweet is None and text.startswith("RT @")):
        return "retweet", ""
    text = without_links(unescape(text))
    text = " ".join(text.split())
    return ("short" if is_short(text) else "kept"), text


def without_links(text: str) -> str:
    """Rule 3: the text without its links; see `_LINKS` for the order."""
    for link in _LINKS:
        text = link.sub("", text)
    return text


def is_short(text: str) -> bool:
    """Rule 5: whether fewer than three words hold none of `http`, `@`, `#`."""
    words = text.casefold().split()
    return sum(not any(mark in word for mark in _NOT_WORDS) for word in words) < MIN_WORDS


def held_out(keys: list[str], share: float) -> list[bool]:
    """Which tweets training never sees: the `share` (at least one) with the smallest hash of their key.

    `keys` are tweet ids, or texts where there is no id; so the choice is the same at each run.
    """
    order = sorted(range(len(keys)), key=lambda i: key_hash(keys[i]))
    chosen = set(order[: held_out_count(len(keys), share)])
    return [i in chosen for i in range(len(keys))]
