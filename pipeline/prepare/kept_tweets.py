"""Reads a person's kept tweets from the store: token ids for training, texts for evaluation.

training, held_out = load_tweets(store, "nasa")
read_tweets(store, "nasa").training     # texts
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.core.store import Store


def load_tweets(store: Store, handle: str, max_tokens: int | None = None) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Returns a person's tweets as arrays of token ids (int32): those to train on, and those held out.

    With `max_tokens` the first tweets of either kind, no more than that many tokens with separators, and at least one.
    The tweets are stored in the order of a hash, so that the first are a fair sample.
    """
    # takes a third of read_table's time, which matters with many small files
    file = pq.ParquetFile(pa.BufferReader(store.read(f"work/tweets/{handle}.parquet")))
    kinds: tuple[list[np.ndarray], list[np.ndarray]] = [], []
    sizes = [0, 0]
    for group in range(file.num_row_groups):
        table = file.read_row_group(group, columns=["tokens", "held_out"], use_threads=False)
        for tokens, out in zip(table["tokens"].to_numpy(), table["held_out"].to_pylist(), strict=True):
            sizes[out] += len(tokens) + 1
            if max_tokens is None or sizes[out] <= max_tokens or not kinds[out]:
                kinds[out].append(tokens)
        if max_tokens is not None and sizes[False] > max_tokens:  # those held out come first
            break
    return kinds


@dataclass(frozen=True)
class Tweets:
    """A person's kept tweets: those to train on, and those held out with their token ids."""

    training: list[str]
    held_out: list[str]
    held_out_ids: list[np.ndarray]  # int32 each


def read_tweets(store: Store, handle: str, learned: np.ndarray | None = None) -> Tweets:
    """A person's tweets as texts, to evaluate with.

    A tweet that a bot has `learned` from (train/learned_tweets.py) is not held out from it.
    """
    data = pa.BufferReader(store.read(f"work/tweets/{handle}.parquet"))
    table = pq.read_table(data, columns=["text", "tokens", "held_out"])
    out = table["held_out"]
    if learned is not None:
        out = pc.and_not(out, pa.array(np.isin(hashes(table["tokens"].to_numpy()), learned)))
    held_out = table.filter(out)
    training = table.filter(pc.invert(out))["text"].to_pylist()
    return Tweets(training, held_out["text"].to_pylist(), list(held_out["tokens"].to_numpy()))


def hashes(tweets: Sequence[np.ndarray]) -> np.ndarray:
    """A hash of each tweet's tokens: uint64 [tweets]."""
    digests = b"".join(hashlib.blake2b(np.asarray(ids, np.int32).tobytes(), digest_size=8).digest() for ids in tweets)
    return np.frombuffer(digests, "<u8")
