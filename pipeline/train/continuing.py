"""How a bot goes on from its last version when tweets were added, rather than starting over from the base.

    known = learned(store, "bots/nasa/0123456789ab")        # a hash of each tweet that it has learned from
    parts = parted([(training, held_out)], known)           # what is new to it, what is old, what is held out

What a bot has learned from is never held out from it again, and where some of it is gone the bot starts over:
tweets that were taken away do not live on in its weights.
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
RATE = 0.25  # times the recipe's learning rate: at the whole of it a bot loses more of what it knows than it gains


class StartsOver(Exception):
    """A bot cannot go on from its last version; the message says why."""


@dataclass(frozen=True)
class Part:
    """One person's tweets as a bot that goes on sees them."""

    new: list[Tokens]
    old: list[Tokens]  # that it has learned from
    held_out: list[Tokens]


def learned_file(tweets: Sequence[Tokens]) -> bytes:
    """What `FILE` holds: the hashes of the tweets, sorted, each once, as a .npy of uint64."""
    file = io.BytesIO()
    np.save(file, np.unique(hashes(tweets)), allow_pickle=False)
    return file.getvalue()


def learned(store: Store, folder: str) -> np.ndarray:
    """The hashes of what the bot in this folder has learned from. Raises StartsOver where the folder does not say."""
    try:
        return np.load(io.BytesIO(store.read(f"{folder}/{FILE}")), allow_pickle=False)
    except FileNotFoundError:
        raise StartsOver("its last version does not say which tweets it learned from") from None


def parted(people: Iterable[tuple[list[Tokens], list[Tokens]]], known: np.ndarray) -> list[Part]:
    """Each person's (training, held-out) tweets, parted by what is `known`. Raises StartsOver."""
    parts, seen = [], []
    for training, held_out in people:
        here, there = hashes(training), hashes(held_out)
        old, out = np.isin(here, known), np.isin(there, known)
        kept = [*compress(training, old), *compress(held_out, out)]
        parts.append(Part(list(compress(training, ~old)), kept, list(compress(held_out, ~out))))
        seen += [here, there]
    if gone := len(np.setdiff1d(known, np.concatenate(seen))):
        raise StartsOver(f"{gone:,} of the tweets that its last version learned from are gone")
    if not any(part.held_out for part in parts):
        raise StartsOver("its last version learned from all that is held out now")
    return parts
