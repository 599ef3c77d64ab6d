"""Compares a whole `run` with the bare arithmetic and with one process per user, in one run on one machine.

    make bench                                          # 16 bots of 200 tweets on mini, some 12 minutes on 2 cores
    python benchmarks/fleet.py --bots 32 --tweets 60
    python benchmarks/fleet.py --gpt2-steps 3           # also: steps of a 12-layer GPT-2, ours and bare

(a) the floor: the same optimizer steps in a bare PyTorch loop with fused AdamW, one process per core, nothing else
(b) ours: `huggingtweets run`, from prepared tweets to published models
(c) the original recipe (original.py): one process per user, one after another
(d) the same, with one process per core at a time
(e) one Ray Train `fit()` per bot

(c), (d) and (e) train some of the bots, alternating, and their means are used for all. Everything computes in fp32 with
one thread per process, on the same accounts, tokens and seeds. Lanes multiply with oneDNN (onednn.py), the others with
PyTorch's default.
"""

import argparse
import concurrent.futures
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import cycle, islice
from pathlib import Path
from typing import Any

os.environ |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}

import numpy as np
import polars as pl
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))  # for tests.support: the cleaning rules for one tweet

from pipeline import tweets
from pipeline.core import fleet as fleets
from pipeline.core import model_folder
from pipeline.core.own_code import ASSETS
from pipeline.core.settings import Train, TweetSource
from pipeline.core.store import Store
from pipeline.prepare.kept_tweets import load_tweets
from pipeline.prepare.rules import judge
from pipeline.train import packing
from pipeline.train.deepspeed_engine import init_single_process_group
from pipeline.train.loop import train_blocks
from pipeline.train.loss import next_token_loss
from pipeline.train.schedule import learning_rate_at
from pipeline.train.trainer import Trainer

BASE = ASSETS / "mini"
ORIGINAL = Path(__file__).with_name("original.py")
CORES = len(os.sched_getaffinity(0))


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--bots", type=int, default=16)
    options.add_argument("--tweets", type=int, default=200, help="of each bot")
    options.add_argument("--sample", type=int, default=4, help="bots that (c) and (d) train; (e) trains half of them")
    options.add_argument("--source", nargs="+", default=[str(ASSETS / "sample")], help="files of tweets")
    options.add_argument("--gpt2-steps", type=int, default=0, help="steps of a 12-layer GPT-2 to time")
    options.add_argument("--json", type=Path, help="a file for the figures")
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="fleet-") as scratch:
        figures = measure(chosen, Path(scratch))
    if chosen.gpt2_steps:
        figures["gpt2"] = gpt2_steps(chosen.gpt2_steps)
    show(figures)
    if chosen.json:
        chosen.json.write_text(json.dumps(figures, indent=2) + "\n")


def measure(chosen: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    path = write_fleet(scratch, accounts(chosen.source, chosen.bots, chosen.tweets))
    store = Store.of(fleets.load(path))
    command([sys.executable, "-m", "pipeline", "prepare", str(path), "--json"])
    handles = [name.removesuffix(".parquet") for name in store.list("work/tweets")]
    say(f"{len(handles)} bots are prepared, {CORES} cores")
    figures: dict[str, Any] = {"bots": len(handles), "tweets": chosen.tweets, "cores": CORES}
    figures["floor"] = floor(store.root, handles)
    say(f"(a) floor: {figures['floor']['wall']:.1f} s")
    figures["ours"] = ours(path)
    say(f"(b) ours: {figures['ours']['wall']:.1f} s")
    picked = handles[:: max(1, len(handles) // chosen.sample)][: chosen.sample]
    figures |= per_user(store.root, picked, scratch)
    held_out = [figures["ours"]["losses"][handle] for handle in picked]
    figures["held_out"] = {"ours": statistics.mean(held_out), "original": statistics.mean(figures["losses"])}
    return figures


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def command(words: list[str]) -> tuple[float, str]:
    """Runs a command; returns its seconds and what it printed on stdout."""
    started = time.perf_counter()
    done = subprocess.run(words, capture_output=True, text=True, cwd=Path(__file__).parent.parent)
    if done.returncode != 0:
        sys.exit(f"{' '.join(words)} failed:\n{done.stderr[-3000:]}")
    return time.perf_counter() - started, done.stdout


def accounts(source: list[str], bots: int, count: int) -> dict[str, list[str]]:
    """Returns `bots` accounts with `count` kept tweets each, taken from the source, which is repeated if needed."""
    people: list[list[str]] = []
    for file in tweets.find([TweetSource(path=str(Path(path).absolute())) for path in source]):
        records = [record for record in tweets.read(file) if isinstance(record, tweets.Record)]
        flags = pl.Series([record.retweet for record in records], dtype=pl.Boolean)
        verdicts = judge(pl.Series([record.text for record in records], dtype=pl.String), flags)["verdict"]
        by_handle: dict[str, list[str]] = {}
        for record, verdict in zip(records, verdicts, strict=True):
            if verdict == "kept":
                by_handle.setdefault(record.handle, []).append(record.text)
        people += by_handle.values()
    pool = [text for person in people for text in person]
    starts = (i * count for i in range(bots))
    return {f"bot_{i:03}": list(islice(cycle(pool), start, start + count)) for i, start in enumerate(starts)}


def write_fleet(folder: Path, people: dict[str, list[str]], name: str = "bench", **keys: Any) -> Path:
    """Writes a fleet file and its tweets; `keys` are further keys of the file."""
    rows = [
        json.dumps({"id_str": str(i), "screen_name": handle, "text": text})
        for i, (handle, text) in enumerate((handle, text) for handle, texts in people.items() for text in texts)
    ]
    (folder / "tweets.jsonl").write_text("\n".join(rows) + "\n")
    path = folder / f"{name}.yaml"
    fleet = {"fleet": name, "tweets": ["tweets.jsonl"], "wandb": {"mode": "disabled"}}
    path.write_text(json.dumps(fleet | keys))
    return path


def blocks_of(root: str, handle: str, separator: int) -> tuple[np.ndarray, Train]:
    from pyarrow import fs

    settings = Train(**json.loads((BASE / model_folder.DEFAULTS).read_text()))
    people = [load_tweets(Store(fs.LocalFileSystem(), root), handle)[0]]
    return packing.pack(people, separator, settings.block_size, settings.epochs, settings.seed), settings


def floor(root: str, handles: list[str]) -> dict[str, Any]:
    """Runs (a), with the bots divided among one process per core; `wall` is the slowest one, without start-up."""
    context = multiprocessing.get_context("spawn")
    shares = [handles[core::CORES] for core in range(CORES)]
    with context.Manager() as manager, concurrent.futures.ProcessPoolExecutor(CORES, mp_context=context) as pool:
        barrier = manager.Barrier(len(shares))
        parts = list(pool.map(bare_loops, [root] * CORES, shares, [barrier] * CORES))
    return {"wall": max(map(sum, parts)), "bots": [seconds for part in parts for seconds in part]}


def bare_loops(root: str, handles: list[str], barrier: Any) -> list[float]:
    torch.set_num_threads(1)
    network, tokenizer = model_folder.load(BASE)
    base = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    work = [blocks_of(root, handle, model_folder.separator_id(tokenizer)) for handle in handles]
    barrier.wait()
    seconds = []
    for blocks, settings in work:
        network.load_state_dict(base)
        seconds.append(bare_loop(network, blocks, settings.learning_rate))
    return seconds


def bare_loop(network: torch.nn.Module, blocks: np.ndarray, rate: float) -> float:
    """Returns the seconds of the optimizer steps alone."""
    network.train()
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=0.0, fused=True)
    started = time.perf_counter()
    for step, block in enumerate(torch.from_numpy(blocks)):
        optimizer.param_groups[0]["lr"] = learning_rate_at(step, len(blocks), rate)
        optimizer.zero_grad()
        next_token_loss(network, block[None]).backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
    return time.perf_counter() - started


def ours(path: Path) -> dict[str, Any]:
    """Runs (b), the command as a user runs it, including the start of its Ray cluster."""
    wall, out = command([sys.executable, "-m", "pipeline", "run", str(path), "--json"])
    report = json.loads(out)
    rows = report["bots"]
    if any(row["status"] != "trained" for row in rows):
        sys.exit(f"not every bot was trained: {[(row['bot'], row['reason']) for row in rows]}")
    return {
        "wall": wall,
        "steps": report["seconds"],
        "bots": [row["seconds"]["train"] for row in rows],  # reset, training and both held-out losses
        "training": [row["metrics"]["train"]["seconds"] for row in rows],
        "handover": [row["seconds"]["handover"] for row in rows],
        "losses": {row["bot"]: row["metrics"]["held_out"]["loss"] for row in rows},
    }


def per_user(root: str, handles: list[str], scratch: Path) -> dict[str, Any]:
    """Runs (c), (d) and (e), alternating; returns the seconds per bot of each."""
    seconds: dict[str, list[float]] = {"original": [], "at_once": [], "fit": []}
    losses = []
    for number, handle in enumerate(handles):
        wall, out = command(original(root, handle, scratch))
        seconds["original"].append(wall)
        losses.append(json.loads(out.splitlines()[-1])["loss"])
        say(f"(c) {handle}: {wall:.1f} s")
        started = time.perf_counter()
        with concurrent.futures.ThreadPoolExecutor(CORES) as pool:
            for one in [pool.submit(command, original(root, handle, scratch / str(core))) for core in range(CORES)]:
                one.result()
        seconds["at_once"].append((time.perf_counter() - started) / CORES)
        say(f"(d) {handle}: {seconds['at_once'][-1]:.1f} s a bot")
        if number % 2 == 0:
            seconds["fit"].append(fit(root, handle, scratch))
            say(f"(e) {handle}: {seconds['fit'][-1]:.1f} s")
    return seconds | {"losses": losses}


def original(root: str, handle: str, scratch: Path) -> list[str]:
    return [sys.executable, str(ORIGINAL), root, handle, str(BASE), str(scratch / "original" / handle)]


def fit(root: str, handle: str, scratch: Path) -> float:
    """Runs (e) on a running Ray cluster; returns the seconds of one `fit()`, which writes the model as a checkpoint."""
    import ray
    import ray.train
    from ray.train.torch import TorchTrainer

    from pipeline.core.ray_session import ensure

    ensure()
    started = time.perf_counter()
    TorchTrainer(
        fit_one,
        train_loop_config={"root": root, "handle": handle},
        scaling_config=ray.train.ScalingConfig(num_workers=1),
        run_config=ray.train.RunConfig(name=handle, storage_path=str(scratch / "fit")),
    ).fit()
    return time.perf_counter() - started


def fit_one(config: dict[str, str]) -> None:
    import ray.train

    network, tokenizer = model_folder.load(BASE)
    blocks, settings = blocks_of(config["root"], config["handle"], model_folder.separator_id(tokenizer))
    bare_loop(network, blocks, settings.learning_rate)
    with tempfile.TemporaryDirectory() as folder:
        network.save_pretrained(folder)
        ray.train.report({}, checkpoint=ray.train.Checkpoint.from_directory(folder))


def gpt2_steps(steps: int) -> dict[str, list[float]]:
    """Returns the seconds of single steps of a 12-layer GPT-2 (random weights, 256 tokens), ours and a bare loop's."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.set_num_threads(1)
    init_single_process_group()
    bare, trainer = GPT2LMHeadModel(GPT2Config()), Trainer(GPT2LMHeadModel(GPT2Config()))
    trainer.reset(seed=0)
    seconds: dict[str, list[float]] = {"bare": [], "ours": []}
    blocks = np.random.default_rng(0).integers(0, 50257, (steps + 1, 1, 256))
    for block in blocks:
        seconds["bare"].append(bare_loop(bare, block, 1e-4))
        seconds["ours"].append(train_blocks(trainer, block, 1, 1e-4).seconds)
    return {name: values[1:] for name, values in seconds.items()}  # the first one warms up


def show(figures: dict[str, Any]) -> None:
    bots, ours, floor = figures["bots"], figures["ours"], figures["floor"]
    lanes, arithmetic = sum(ours["bots"]), sum(floor["bots"])
    others = {"c": "original", "d": "at_once", "e": "fit"}
    walls = {letter: bots * statistics.mean(figures[name]) for letter, name in others.items()}
    names = {
        "c": "original recipe, one process after another",
        "d": f"the same, {figures['cores']} at once",
        "e": "a fit() per bot",
    }
    print(f"{bots} bots of {figures['tweets']} tweets, {figures['cores']} cores           seconds   run is")
    ratio = ours["wall"] / floor["wall"]
    print(f"(a) the arithmetic alone, a process per core   {floor['wall']:9.1f}   {ratio:.2f} times")
    print(f"(b) huggingtweets run                          {ours['wall']:9.1f}")
    for letter, wall in walls.items():
        print(f"({letter}) {names[letter]:<43}{wall:9.1f}   {wall / ours['wall']:.2f} times faster")
    print(f"\nwarm lanes: {lanes / arithmetic:.3f} times the floor's steps, held-out losses and reset included")
    print(f"  a bot's optimizer steps    {statistics.median(ours['training']):8.3f} s (median)")
    rest = [whole - training for whole, training in zip(ours["bots"], ours["training"], strict=True)]
    print(f"  reset and held-out losses  {statistics.median(rest):8.3f} s")
    print(f"  from one bot to the next   {statistics.median(ours['handover']):8.3f} s")
    busy = (sum(ours["bots"]) + sum(ours["handover"])) / figures["cores"]
    steps = ", ".join(f"{name} {seconds:.1f}" for name, seconds in ours["steps"].items())
    print(f"  run: {ours['wall']:.1f} s, of which lanes at work {busy:.1f}; by step: {steps}")
    ours_loss, theirs = figures["held_out"]["ours"], figures["held_out"]["original"]
    print(f"held-out loss: ours {ours_loss:.4f}, the original's {theirs:.4f} ({ours_loss / theirs - 1:+.2%})")
    if gpt2 := figures.get("gpt2"):
        bare, lane = statistics.median(gpt2["bare"]), statistics.median(gpt2["ours"])
        print(f"12-layer GPT-2, 256 tokens: bare {bare:.2f} s a step, lane {lane:.2f} s ({lane / bare:.2f} times)")


if __name__ == "__main__":
    main()
