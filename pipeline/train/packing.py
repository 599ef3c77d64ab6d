"""Packs tweets into the blocks that training reads: shuffled anew for each epoch, between separators, no padding.

    blocks = pack([tweets], separator=0, block_size=256, epochs=4, seed=0)

The recipe is the original huggingtweets'. This module also decides which tweets a blend repeats, and which old tweets
a bot sees again that continues from its last version.
"""

from collections.abc import Iterator, Sequence

import numpy as np

Tokens = np.ndarray  # int32 [n]
_OLD_SHARE = 0.25  # of its old tweets, at least, that a continued bot sees again in each epoch


def pack(people: list[list[Tokens]], separator: int, block_size: int, epochs: int, seed: int) -> np.ndarray:
    """All blocks of a training, in order: int64 [blocks, block_size].

    `people` holds each person's tweets as token ids. In a blend each epoch repeats the tweets of people who have fewer
    tokens until all have the same number. The last, partial block of an epoch is dropped, unless it is the only one.
    """
    sizes = [_size(tweets) for tweets in people]
    blocks = []
    for epoch in range(epochs):
        rng = np.random.default_rng([seed, epoch])
        tweets = [
            tweet
            for person, size in zip(people, sizes, strict=True)
            for tweet in (*person, *_draw(person, max(sizes) - size, rng))
        ]
        stream = join([tweets[i] for i in rng.permutation(len(tweets))], separator)
        count = len(stream) // block_size
        if count == 0:
            blocks.append(stream[None, :])
        else:
            blocks.append(stream[: count * block_size].reshape(count, block_size)[rng.permutation(count)])
    return np.concatenate(blocks)


def mix(new: list[Tokens], old: list[Tokens], epochs: int, seed: int) -> list[Tokens]:
    """What a continued bot trains on, as one epoch: a person's new tweets `epochs` times, mixed with old ones.

    There are as many tokens of old tweets as of new ones, and at least `_OLD_SHARE` of all old tokens for each of the
    `epochs`.
    """
    wanted = epochs * max(_size(new), _OLD_SHARE * _size(old))
    return new * epochs + list(_draw(old, wanted, np.random.default_rng(seed)))


def _draw(tweets: list[Tokens], tokens: float, rng: np.random.Generator) -> Iterator[Tokens]:
    """At least so many tokens of the tweets, in a random order; where they are too few, all again in a new order."""
    held = 0
    while tweets and held < tokens:
        for i in rng.permutation(len(tweets)):
            if held >= tokens:
                return
            held += len(tweets[i])
            yield tweets[i]


def _size(tweets: list[Tokens]) -> int:
    return sum(map(len, tweets))


def join(tweets: Sequence[Tokens], separator: int) -> np.ndarray:
    """One stream of tokens with a separator before, between and after the tweets: int64 [n]."""
    lengths = np.fromiter(map(len, tweets), np.int64, len(tweets))
    stream = np.full(lengths.sum() + len(tweets) + 1, separator, dtype=np.int64)
    inside = np.ones(len(stream), bool)
    inside[np.concatenate(([0], np.cumsum(lengths + 1)))] = False
    stream[inside] = np.concatenate(tweets) if len(tweets) else []
    return stream
