"""Which tweets a version of a bot has learned from, so that the next version can continue from it.

    learned = read_learned(store, "bots/nasa/0123456789ab")     # a hash of each tweet that the version learned from
    people = split_by_learned([(training, held_out)], learned)  # each person's new, old and held-out tweets

A tweet that a version has learned from is never held out from a later one. Where such a tweet is gone the bot starts
over from the base: tweets that were taken away must not live on in its weights.
"""

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import compress

import numpy as np

from pipeline.core.store import Store
from pipeline.prepare.kept_tweets import hashes
from pipeline.train.packing import Tokens

FILE = "learned.npy"  # in a bot's folder
LEARNING_RATE_FACTOR = 0.25  # for a continued bot: at the recipe's full rate it forgets more than it learns


class MustStartOver(Exception):
    """A bot cannot continue from its last version; the message says why."""


@dataclass(frozen=True)
class SplitTweets:
    """One person's tweets, as a continued bot uses them."""

    new: list[Tokens]
    old: list[Tokens]  # the last version has learned from these
    held_out: list[Tokens]


def learned_file(tweets: Sequence[Tokens]) -> bytes:
    """The content of `FILE`: the tweets' hashes, sorted and unique, as a .npy of uint64."""
    file = io.BytesIO()
    np.save(file, np.unique(hashes(tweets)), allow_pickle=False)
    return file.getvalue()


def read_learned(store: Store, folder: str) -> np.ndarray:
    """The hashes of the tweets that the version in this folder has learned from, uint64 [tweets].

    Raises MustStartOver if the folder has no such file.
    """
    try:
        return np.load(io.BytesIO(store.read(f"{folder}/{FILE}")), allow_pickle=False)
    except FileNotFoundError:
        raise MustStartOver("its last version does not say which tweets it learned from") from None


def split_by_learned(people: Iterable[tuple[list[Tokens], list[Tokens]]], learned: np.ndarray) -> list[SplitTweets]:
    """Splits each person's (training, held-out) tweets by whether the last version has learned from them.

    Raises MustStartOver if learned tweets are gone, or nothing is left to hold out.
    """
    split, seen = [], []
    for training, held_out in people:
        training_hashes, held_out_hashes = hashes(training), hashes(held_out)
        was_trained, was_held_out = np.isin(training_hashes, learned), np.isin(held_out_hashes, learned)
        new, old = compress(training, ~was_trained), compress(training, was_trained)
        # new tweets change which tenth is held out: tweets of it that were learned before count as old ones
        moved, kept_out = compress(held_out, was_held_out), compress(held_out, ~was_held_out)
        split.append(SplitTweets(list(new), [*old, *moved], list(kept_out)))
        seen += [training_hashes, held_out_hashes]
    if gone := len(np.setdiff1d(learned, np.concatenate(seen))):
        raise MustStartOver(f"{gone:,} of the tweets that its last version learned from are gone")
    if not any(person.held_out for person in split):
        raise MustStartOver("its last version learned from all that is held out now")
    return split
