"""Tweets into the blocks that training reads: shuffled anew each epoch, each between separators, no padding.

    blocks = packed([tweets], separator=0, block_size=256, epochs=4, seed=0)

Plain NumPy, the recipe of the original huggingtweets; what a blend repeats, and what a bot that goes on sees of its
old tweets, is decided here.
"""

from collections.abc import Iterator, Sequence

import numpy as np

Tokens = np.ndarray  # int32 [n]
_OLD_SHARE = 0.25  # of its old tweets that a bot that goes on sees again in an epoch, at least


def packed(people: list[list[Tokens]], separator: int, block_size: int, epochs: int, seed: int) -> np.ndarray:
    """All blocks of a training, in order: int64 [blocks, block_size].

    `people`: each person's tweets as token ids; in a blend each epoch repeats the shorter people's tweets
    until all weigh the same in tokens. The last, partial block of an epoch is dropped, unless it is all
    there is.
    """
    sizes = [_size(tweets) for tweets in people]
    blocks = []
    for epoch in range(epochs):
        rng = np.random.default_rng([seed, epoch])
        tweets = [
            tweet
            for person, size in zip(people, sizes, strict=True)
            for tweet in (*person, *_drawn(person, max(sizes) - size, rng))
        ]
        stream = joined([tweets[i] for i in rng.permutation(len(tweets))], separator)
        count = len(stream) // block_size
        if count == 0:
            blocks.append(stream[None, :])
        else:
            blocks.append(stream[: count * block_size].reshape(count, block_size)[rng.permutation(count)])
    return np.concatenate(blocks)


def mixed(new: list[Tokens], old: list[Tokens], epochs: int, seed: int) -> list[Tokens]:
    """What a person's bot that goes on trains on, in one epoch: the new tweets `epochs` times and old ones between.

    Of the old ones there are as many, in tokens, as of the new ones, and at least `_OLD_SHARE` of all of them for
    each of the `epochs`.
    """
    wanted = epochs * max(_size(new), _OLD_SHARE * _size(old))
    return new * epochs + list(_drawn(old, wanted, np.random.default_rng(seed)))


def _drawn(tweets: list[Tokens], tokens: float, rng: np.random.Generator) -> Iterator[Tokens]:
    """So many tokens of the tweets in a random order; where they are too few, all again in a new order."""
    held = 0
    while tweets and held < tokens:
        for i in rng.permutation(len(tweets)):
            if held >= tokens:
                return
            held += len(tweets[i])
            yield tweets[i]


def _size(tweets: list[Tokens]) -> int:
    return sum(map(len, tweets))


def joined(tweets: Sequence[Tokens], separator: int) -> np.ndarray:
    """One stream of tokens, a separator before, between and after the tweets: int64 [n]."""
    lengths = np.fromiter(map(len, tweets), np.int64, len(tweets))
    stream = np.full(lengths.sum() + len(tweets) + 1, separator, dtype=np.int64)
    inside = np.ones(len(stream), bool)
    inside[np.concatenate(([0], np.cumsum(lengths + 1)))] = False
    stream[inside] = np.concatenate(tweets) if len(tweets) else []
    return stream
