"""The cleaning rules for one tweet, in plain Python: what the tests compare pipeline/prepare/rules.py with.

clean("so good &amp; new https://t.co/abc", retweet=False)  # ("kept", "so good & new")
"""

import re
from typing import Literal

from pipeline.prepare.held_out import held_out_count, key_hash
from pipeline.prepare.rules import MIN_WORDS

Verdict = Literal["kept", "retweets", "short"]

_LINKS = [
    re.compile(pattern.format(scheme))
    for scheme in ("http:", "https:")
    for pattern in (r" {}\S+", r"{}\S+ ", r"\n{}\S+", r"{}\S+")
]
_NOT_WORDS = ("http", "@", "#")


def clean(text: str, retweet: bool | None) -> tuple[Verdict, str]:
    """Returns the verdict on a tweet and its cleaned text ("" for a retweet).

    `retweet` is what the record says, or None if its format has no such field.
    """
    if retweet or (retweet is None and text.startswith("RT @")):
        return "retweets", ""
    text = " ".join(without_links(unescaped(text)).split())
    return ("short" if is_short(text) else "kept"), text


def unescaped(text: str) -> str:
    """Rule 1."""
    return text.replace("&amp;", "&").replace("&lt;", "<").replace("&gt;", ">")


def without_links(text: str) -> str:
    """Rule 3."""
    for link in _LINKS:
        text = link.sub("", text)
    return text


def is_short(text: str) -> bool:
    """Rule 5."""
    words = text.casefold().split()
    return sum(not any(mark in word for mark in _NOT_WORDS) for word in words) < MIN_WORDS


def held_out(keys: list[str], share: float) -> list[bool]:
    """Returns which tweets are held out: the `share` of them, at least one, whose keys have the smallest hashes.

    `keys` are tweet ids, or texts where there is no id.
    """
    order = sorted(range(len(keys)), key=lambda i: key_hash(keys[i]))
    chosen = set(order[: held_out_count(len(keys), share)])
    return [i in chosen for i in range(len(keys))]
