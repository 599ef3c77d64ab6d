"""Measures the costs of this machine on a small fleet, and checks how well plan.py predicts another fleet from them.

    python benchmarks/calibrate.py here.yaml --bots 8 --tweets 200             # mini, a lane on every core
    python benchmarks/calibrate.py here.yaml --check --bots 6 --tweets 120     # another base, other sizes, one lane

Both run the commands as a user does, each with its own Ray cluster. Calibration runs the steps one by one (`prepare`,
`train`, `evaluate`, `publish`), so that each is measured alone. `--check` predicts and times one `run`, in which the
steps overlap. Costs on the other base are those on mini, times the ratio of the two bases' training steps and sampling,
which are timed alternately. Nothing else should run on the machine.
"""

import argparse
import json
import math
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}

import torch
import yaml
from fleet import BASE, CORES, accounts, command, say, write_fleet
from plan import HOLDOUT, Bot, Costs, load, plan, show

from pipeline.core import model_folder
from pipeline.core.fleet import load as load_fleet
from pipeline.core.own_code import ASSETS
from pipeline.core.store import Store
from pipeline.prepare.index import load_index

_SMALLEST = 0.6  # of the largest bot's tweets
_TWEETS_PER_SECOND = 50_000.0  # docs/prepare.md; on a small fleet, start-up time would hide it
_TIMES = 5  # measurements of each base, alternating


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("file", type=Path, help="of costs: written, or read with --check")
    options.add_argument("--check", action="store_true", help="predict another fleet from the file, run it, compare")
    options.add_argument("--bots", type=int, default=8)
    options.add_argument("--tweets", type=int, default=200, help="of the largest bot")
    options.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=NUMBER", help="with --check")
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="plan-") as scratch:
        if chosen.check:
            check(Path(scratch), load(chosen.file, None, chosen.set), chosen.bots, chosen.tweets)
            return
        entry = calibrate(Path(scratch), chosen.bots, chosen.tweets)
        chosen.file.write_text(yaml.safe_dump({"here": entry}, sort_keys=False))
        print(f"{chosen.file}: " + ", ".join(f"{key} {value:.3g}" for key, value in entry["costs"].items()))


class Fleet:
    """A fleet of made-up people of different sizes, and the commands on it."""

    def __init__(self, folder: Path, name: str, base: Path, bots: int, tweets: int, lanes: int):
        people = accounts([str(ASSETS / "sample")], bots, tweets)
        shares = [_SMALLEST + (1 - _SMALLEST) * i / max(1, bots - 1) for i in range(bots)]
        sized = zip(people.items(), shares, strict=True)
        cut = {handle: texts[: round(share * tweets)] for (handle, texts), share in sized}
        self.path = write_fleet(folder, cut, name, base_model=str(base), train={"lanes": lanes})

    def do(self, step: str, *more: str) -> tuple[float, dict[str, Any]]:
        """Runs a command; returns its wall time in seconds, and its report."""
        wall, out = command([sys.executable, "-m", "pipeline", step, str(self.path), "--json", *more])
        say(f"{step} {' '.join(more)}: {wall:.1f} s")
        return wall, json.loads(out)

    def sizes(self) -> list[Bot]:
        """Returns the sizes of the prepared bots, from which plan.py predicts."""
        prepared = load_index(Store.of(load_fleet(self.path)))
        assert prepared
        found = []
        for person in prepared.people.values():
            kept = person.counts["kept"]
            found.append(Bot(kept, person.tokens, round(person.tokens / (1 - HOLDOUT) * HOLDOUT)))
        return found


def calibrate(folder: Path, bots: int, tweets: int) -> dict[str, Any]:
    """Returns an entry for a file of costs: mini on this machine, each step of the pipeline measured alone."""
    fleet = Fleet(folder, "measured", BASE, bots, tweets, CORES)
    _, prepared = fleet.do("prepare")
    wall, trained = fleet.do("train")
    _, evaluated = fleet.do("evaluate")
    first = trained["bots"][0]["bot"]
    _, one = fleet.do("publish", "--bots", first)
    _, published = fleet.do("publish")
    rows = trained["bots"]
    if any(row["status"] != "trained" for row in rows):
        sys.exit(f"not every bot was trained: {[(row['bot'], row['reason']) for row in rows]}")
    training = [row["metrics"]["train"] for row in rows]
    settings = load_fleet(fleet.path).train
    base = json.loads((BASE / model_folder.DEFAULTS).read_text())
    held_out = sum(row["metrics"]["held_out"]["tokens"] for row in rows)
    before_and_after = sum(row["seconds"]["train"] - row["metrics"]["train"]["seconds"] for row in rows)
    measuring = [row["seconds"]["evaluate"] for row in evaluated["bots"]]
    rounds = math.ceil(bots / CORES) - 1  # rounds after the first
    per_bot = max(0.0, published["seconds"]["publish"] - one["seconds"]["publish"]) / max(1, rounds)
    weights = next(folder.rglob("bots/*/*/model.safetensors")).stat().st_size
    costs: dict[str, float] = {
        "command": wall - sum(trained["seconds"].values()),
        "prepare_start": prepared["seconds"]["prepare"],
        "tweets_per_second": _TWEETS_PER_SECOND,
        "lane_start": 0.0,
        "launch": 0.0,  # on a CPU it is part of the arithmetic
        "token": sum(one["seconds"] for one in training) / sum(one["tokens"] for one in training),
        "held_out_token": before_and_after / (2 * held_out),
        "bot": statistics.mean(row["seconds"]["handover"] for row in rows),
        "evaluate_start": max(0.0, evaluated["seconds"]["evaluate"] - sum(measuring) / min(CORES, bots)),
        "evaluate": statistics.mean(measuring),
        "publish": per_bot,
    }
    entry = {
        "machine": {"devices_per_node": 0, "cores_per_node": CORES, "lanes_per_device": 1, "usd_per_node_hour": 0.0},
        "store": {
            "bytes_per_second": 1e12,  # disk time is part of the measured training and publishing
            "stream_bytes_per_second": 1e12,
            "usd_per_gb_month": 0.0,
            "usd_per_1000_writes": 0.0,
        },
        "base": {
            "block_size": base.get("block_size", settings.block_size),
            "epochs": base.get("epochs", settings.epochs),
            "batch_size": base.get("batch_size", settings.batch_size),
            "model_bytes": weights,
            "files": 14,
        },
        "costs": costs,
    }
    # time of the lanes without their bots: their start
    expected = plan(fleet.sizes(), Costs(**_without_measuring(entry)), 1).phases["train"]
    costs["lane_start"] = max(0.0, trained["seconds"]["train"] - expected)
    return {name: {key: round(float(value), 9) for key, value in part.items()} for name, part in entry.items()}


def _without_measuring(entry: dict[str, Any]) -> dict[str, Any]:
    return entry | {"costs": entry["costs"] | {"evaluate": 0.0, "evaluate_start": 0.0}}


def check(folder: Path, costs: Costs, bots: int, tweets: int) -> None:
    """Predicts a `run` of a fleet with other sizes, on another base and one lane; runs it and prints both times."""
    base = other_base(folder / "base")
    steps, sampling = ratio(base, _train_step), ratio(base, _sampling)
    say(f"the other base: a step takes {steps:.2f} times mini's, sampling {sampling:.2f} times")
    scaled = costs.costs | {
        "token": costs.costs["token"] * steps,
        "held_out_token": costs.costs["held_out_token"] * steps,
        "evaluate": costs.costs["evaluate"] * sampling,
        "evaluate_start": costs.costs["evaluate_start"] * sampling,
    }
    fleet = Fleet(folder, "prepared", base, bots, tweets, 1)
    fleet.do("prepare")
    foreseen = plan(fleet.sizes(), Costs(costs.machine, costs.store, costs.base, scaled), 1, lanes=1)
    wall, report = Fleet(folder, "whole", base, bots, tweets, 1).do("run")  # in a new store, so that it also prepares
    show(foreseen)
    print("measured: " + ", ".join(f"{step} {seconds:.1f} s" for step, seconds in report["seconds"].items()))
    error = foreseen.seconds / wall - 1
    print(f"predicted {foreseen.seconds:.1f} s, measured {wall:.1f} s: {error:+.1%}")


def other_base(folder: Path) -> Path:
    """Writes a GPT-2 with random weights, half as wide and 1.5 times as deep as mini, with mini's tokenizer."""
    from transformers import AutoConfig, GPT2LMHeadModel

    config = AutoConfig.from_pretrained(BASE)
    config.n_layer, config.n_embd = 6, 192
    torch.manual_seed(0)
    GPT2LMHeadModel(config).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json", model_folder.DEFAULTS):
        (folder / name).write_bytes((BASE / name).read_bytes())
    return folder


def ratio(base: Path, timed: Callable[[Path], Callable[[], None]]) -> float:
    """Returns the time of something on a base over its time on mini: medians of alternating measurements."""
    torch.set_num_threads(1)
    seconds: dict[Path, list[float]] = {base: [], BASE: []}
    work = {one: timed(one) for one in seconds}
    for run in work.values():
        run()
    for _ in range(_TIMES):
        for one, run in work.items():
            started = time.perf_counter()
            run()
            seconds[one].append(time.perf_counter() - started)
    return statistics.median(seconds[base]) / statistics.median(seconds[BASE])


def _train_step(base: Path) -> Callable[[], None]:
    from pipeline.train.deepspeed_engine import init_single_process_group
    from pipeline.train.trainer import Trainer

    init_single_process_group()
    network, _ = model_folder.load(base)
    block = torch.randint(0, network.config.vocab_size, (1, network.config.n_positions))
    trainer = Trainer(network)

    def step() -> None:
        float(trainer.step(block, 1e-4))

    return step


def _sampling(base: Path) -> Callable[[], None]:
    from serve.engine.engine import Engine, Request
    from serve.engine.parameters import Parameters

    engine = Engine(base)
    asked = Parameters(num_return_sequences=8, seed=0, min_new_tokens=40, max_new_tokens=40)

    def sample() -> None:
        engine.generate([Request("My dream is", asked)])

    return sample


if __name__ == "__main__":
    main()
