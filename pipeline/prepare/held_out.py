"""Which of a person's tweets training never sees: those with the smallest hashes of their keys.

A tweet's key is its id, or its text where the format has no id. So the choice is the same at each run.
"""

import hashlib


def held_out_count(tweets: int, share: float) -> int:
    return max(1, int(tweets * share))


def key_hash(key: str) -> bytes:
    """The hash that a tweet is held out by, and that its person's tweets are ordered by."""
    return hashlib.sha256(key.encode(errors="replace")).digest()
