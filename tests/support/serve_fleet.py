"""Toy bots published without training."""

import json
import os
import zlib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.core.names import handles_of
from pipeline.core.store import Store

VERSION = "000000000001"


def write_tweets(store: Store, handle: str, held_out: list[str], training: list[str]) -> None:
    """A person's kept tweets, as `prepare` writes them, without tokens."""
    texts, flags = [*held_out, *training], [True] * len(held_out) + [False] * len(training)
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"text": texts, "held_out": flags}), sink)
    store.write(f"work/tweets/{handle}.parquet", sink.getvalue().to_pybytes())


def publish(storage: Path, base: Path, bot: str, version: str = VERSION, seed: int = 0) -> str:
    """A published bot: the toy base with weights of its own (a seed's noise); returns its version."""
    import torch

    from pipeline.core.model_folder import ModelFolder, load
    from pipeline.core.weights import weight_bytes

    folder = storage / "bots" / bot / version
    folder.mkdir(parents=True)
    model, _ = load(base)
    generator = torch.Generator().manual_seed(zlib.crc32(f"{bot} {seed}".encode()))
    state = {
        name: value + 0.05 * torch.randn(value.shape, generator=generator)
        for name, value in model.state_dict().items()
        if name != "lm_head.weight"
    }
    for name, data in ModelFolder.read(base).bot_files(weight_bytes(state, "float16")).items():
        (folder / name).write_bytes(data)
    tweets = {handle: {"downloaded": 140, "retweets": 6, "short": 4, "kept": 130} for handle in handles_of(bot)}
    (folder / "stats.json").write_text(json.dumps({"handles": handles_of(bot), "tweets": tweets}))
    (folder / "metrics.json").write_text(json.dumps({"held_out": {"loss": 3.5}}))
    draft = storage / "bots" / bot / ".current"
    draft.write_text(version)
    os.replace(draft, storage / "bots" / bot / "current")
    return version
