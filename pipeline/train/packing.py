"""Packs tweets into the blocks that training reads: shuffled anew for each epoch, between separators, no padding.

    blocks = Blocks([tweets], separator=0, block_size=256, epochs=4, seed=0)
    blocks[np.array([0, 1])]                # the first two: int64 [2, 256]

The recipe is the original huggingtweets'. This module also decides which tweets a blend repeats, and which old tweets
a bot sees again that continues from its last version.
"""

from collections.abc import Iterator, Sequence

import numpy as np

Tokens = np.ndarray  # int32 [n]
_OLD_SHARE = 0.25  # of its old tweets, at least, that a continued bot sees again in each epoch


class Blocks:
    """All blocks of a training, in order: integers [blocks, block_size]. One epoch at a time is in memory.

    `people` holds each person's tweets as token ids. In a blend each epoch repeats the tweets of people who have fewer
    tokens until all have the same number. The last, partial block of an epoch is dropped, unless it is the only one.
    """

    def __init__(self, people: list[list[Tokens]], separator: int, block_size: int, epochs: int, seed: int):
        self.people, self.separator, self.seed = people, separator, seed
        sizes = [self._tokens(epoch) for epoch in range(epochs)]
        self.block_size = min(block_size, *sizes)
        self.ends = np.cumsum([size // self.block_size for size in sizes])  # the number of blocks up to each epoch
        self.packed: tuple[int, np.ndarray] | None = None  # the latest epoch and its blocks, int32

    @property
    def shape(self) -> tuple[int, int]:
        """The number of blocks, and of the tokens in each."""
        return int(self.ends[-1]), self.block_size

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, numbers: np.ndarray) -> np.ndarray:
        """The blocks with these numbers: int64 [numbers, block_size]. Fast where they are of one epoch."""
        epochs = np.searchsorted(self.ends, numbers, side="right")
        chosen = np.empty((len(numbers), self.block_size), np.int64)
        for epoch in dict.fromkeys(epochs.tolist()):
            blocks = self._epoch(epoch)
            chosen[epochs == epoch] = blocks[numbers[epochs == epoch] - (self.ends[epoch] - len(blocks))]
        return chosen

    def _epoch(self, epoch: int) -> np.ndarray:
        if self.packed is None or self.packed[0] != epoch:
            self.packed = None  # two epochs at once may be too much for the memory
            rng = np.random.default_rng([self.seed, epoch])
            tweets = self._tweets(rng)
            stream = join([tweets[i] for i in rng.permutation(len(tweets))], self.separator, np.int32)
            count = len(stream) // self.block_size
            blocks = stream[: count * self.block_size].reshape(count, self.block_size)
            self.packed = epoch, blocks[rng.permutation(count)] if count > 1 else blocks
        return self.packed[1]

    def _tweets(self, rng: np.random.Generator) -> list[Tokens]:
        """The tweets of an epoch, those that a blend repeats included."""
        sizes = [_size(tweets) for tweets in self.people]
        return [
            tweet
            for person, size in zip(self.people, sizes, strict=True)
            for tweet in (*person, *_draw(person, max(sizes) - size, rng))
        ]

    def _tokens(self, epoch: int) -> int:
        tweets = self._tweets(np.random.default_rng([self.seed, epoch]))
        return _size(tweets) + len(tweets) + 1


def pack(people: list[list[Tokens]], separator: int, block_size: int, epochs: int, seed: int) -> np.ndarray:
    """All blocks of a training at once, for one that fits into memory: int64 [blocks, block_size]; see `Blocks`."""
    blocks = Blocks(people, separator, block_size, epochs, seed)
    return blocks[np.arange(len(blocks))]


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


def _size(tweets: Sequence[Tokens]) -> int:
    return sum(map(len, tweets))


def join(tweets: Sequence[Tokens], separator: int, dtype: type[np.integer] = np.int64) -> np.ndarray:
    """One stream of tokens with a separator before, between and after the tweets: `dtype` [n]."""
    lengths = np.fromiter(map(len, tweets), np.int64, len(tweets))
    stream = np.full(lengths.sum() + len(tweets) + 1, separator, dtype=dtype)
    inside = np.ones(len(stream), bool)
    inside[np.concatenate(([0], np.cumsum(lengths + 1)))] = False
    stream[inside] = np.concatenate(tweets) if len(tweets) else []
    return stream
