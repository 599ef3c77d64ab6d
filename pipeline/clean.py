"""The cleaning rules, pure: what of a tweet is kept, and what is counted and left out.

They are the original huggingtweets' rules, so the counts in a model card mean what they always meant.

    clean("so good &amp; new https://t.co/abc", retweet=False)   # ("kept", "so good & new")
"""

import hashlib
import re
from typing import Literal

SEPARATOR = "<|endoftext|>"
MIN_CHARS = 6_000  # of kept text per person; below it a bot is skipped
WARN_CHARS = 40_000  # below it a bot is trained with a warning
MIN_WORDS = 3  # that hold no link, mention or hashtag; a tweet with fewer is short

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


def unescape(text: str) -> str:
    """Rule 1: the three entities that Twitter's API escapes, in this order."""
    return text.replace("&amp;", "&").replace("&lt;", "<").replace("&gt;", ">")


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


def held_out_count(tweets: int, share: float) -> int:
    return max(1, int(tweets * share))


def key_hash(key: str) -> bytes:
    """The hash that a tweet is held out by, and that its person's tweets are ordered by."""
    return hashlib.sha256(key.encode(errors="replace")).digest()
