"""For tests of all kinds: where the project is, tweets of made-up people, waiting, Ray's processes."""

import json
import os
import random
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil

ROOT = Path(__file__).parents[2]
WORDS = {
    "ada": ("engine", "wheel", "brass", "lever", "count", "number", "card", "loom", "weave", "pattern", "steam"),
    "ben": ("soup", "bread", "onion", "pepper", "kettle", "spoon", "butter", "cheese", "oven", "salt", "lemon"),
    "cleo": ("river", "barge", "moon", "sand", "cat", "palm", "gold", "reed", "snake", "crown", "market"),
}


def tweets_of(handle: str, count: int = 130, seed: int | None = None) -> list[str]:
    """Made-up tweets in the words of one of WORDS, others with another seed; over 6,000 characters of them."""
    rng = random.Random(handle if seed is None else f"{handle} {seed}")
    return [" ".join(rng.choices(WORDS[handle], k=9)).capitalize() + "." for _ in range(count)]


def toy_base(folder: Path, layers: int = 2) -> Path:
    """Writes a base model into the folder: a small GPT-2 with a byte-level BPE of its own, random weights."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=500, special_tokens=["<|endoftext|>"], initial_alphabet=alphabet)
    tokenizer.train_from_iterator([text for handle in WORDS for text in tweets_of(handle)], trainer)
    end = "<|endoftext|>"
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=end, eos_token=end).save_pretrained(folder)
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=500, n_positions=128, n_embd=32, n_layer=layers, n_head=2, bos_token_id=0, eos_token_id=0
    )
    config.resid_pdrop = config.embd_pdrop = config.attn_pdrop = 0.0
    GPT2LMHeadModel(config).save_pretrained(folder)
    settings = {"block_size": 64, "learning_rate": 3e-3, "epochs": 2}
    (folder / "train_defaults.json").write_text(json.dumps(settings))
    return folder


def encoded_tweets(seed: int, count: int = 30) -> list[np.ndarray]:
    """Random tweets as token ids of the toy base, 3 to 19 tokens each."""
    rng = np.random.default_rng(seed)
    return [rng.integers(1, 500, rng.integers(3, 20)).astype(np.int32) for _ in range(count)]


def write_csv(path: Path, texts: list[str], first_id: int = 1) -> Path:
    """Writes tweets as a CSV file with the columns id and text, ids counted from `first_id`; returns its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [f'{first_id + i},"{text}"' for i, text in enumerate(texts)]
    path.write_text("\n".join(["id,text", *rows]) + "\n", encoding="utf-8")
    return path


def environment() -> dict[str, str]:
    """The environment for a subprocess: this one's, with the project's programs first."""
    return os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}


def until(holds: Callable[[], Any], seconds: float = 30.0) -> None:
    """Waits until `holds` returns something true; fails after so many seconds."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"still not true after {seconds} seconds"
        time.sleep(0.1)


def free_port() -> int:
    """A port of 127.0.0.1 on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def ray_processes(title: str) -> list[psutil.Process]:
    """The processes of clusters that the tests have started whose title begins so ("QueueActor")."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):  # it has just ended
            if " ".join(process.cmdline()).startswith(f"ray::{title}"):
                found.append(process)
    return found


def cpu_seconds(process: psutil.Process) -> float:
    """The processor time that a process has used; 0 if it has ended."""
    with suppress(psutil.NoSuchProcess):
        return process.cpu_times().user
    return 0.0


def cluster_processes() -> list[psutil.Process]:
    """The processes of the cluster that this process has started: the head and all below it."""
    heads = [one for one in psutil.Process().children() if "ray.scripts.scripts" in " ".join(one.cmdline())]
    return [process for head in heads for process in [head, *head.children(recursive=True)]]


def listening() -> set[tuple[str, str]]:
    """Where that cluster's processes accept connections: each address with the beginning of the process's command."""
    found = set()
    for process in cluster_processes():
        with suppress(psutil.Error):  # it has just ended
            command = " ".join(process.cmdline())[:80]
            sockets = process.net_connections("tcp")
            found |= {(one.laddr.ip, command) for one in sockets if one.status == psutil.CONN_LISTEN}
    return found
