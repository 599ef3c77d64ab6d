"""Which of a person's tweets are held out from training: those with the smallest hashes of their keys.

    held_out_count(2427, share=0.1)         # 242

A tweet's key is its id, or its text where the format has no id, so every run holds out the same tweets.
"""

import hashlib


def held_out_count(tweets: int, share: float) -> int:
    """Returns how many of a person's tweets are held out: this share of them, at least one."""
    return max(1, int(tweets * share))


def key_hash(key: str) -> bytes:
    """Returns the SHA-256 of a key: the order of a person's tweets, of which the first are held out."""
    return hashlib.sha256(key.encode(errors="replace")).digest()
