"""Measures what W&B costs: the time to write a bot's runs, and the effect of a slow or dead W&B on a fleet's wall time.

    python benchmarks/track.py --bots 100 --rounds 2

First the runs of many bots are written from their folders, with our settings and with W&B's defaults. Then the bundled
sample is trained several times on one local cluster, alternating between no W&B, a W&B that answers at once, one that
takes 5 seconds per call, and one that is down. It prints medians and ratios.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # for tests.support: the W&B on loopback, and untrained bots

from pipeline import run
from pipeline.core import fleet as fleets
from pipeline.core.own_code import ASSETS
from pipeline.core.progress import Progress
from pipeline.core.ray_session import ensure, session
from pipeline.core.store import Store
from pipeline.track import offline
from pipeline.track.stored_runs import StoredRuns
from tests.support import published
from tests.support.fake_wandb import WandbServer

VERSION = "0123456789ab"


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--bots", type=int, default=100, help="bots whose runs are written")
    options.add_argument("--rounds", type=int, default=2, help="fleets of each of the four kinds")
    options.add_argument("--epochs", type=int, default=1)
    chosen = options.parse_args()
    os.environ |= {"WANDB_API_KEY": "0" * 40, "HOME": tempfile.mkdtemp(), "WANDB_SILENT": "true"}
    lean = dict(offline._LEAN)
    ours = written(chosen.bots)
    offline._LEAN.clear()
    offline._LEAN |= {"console": "off", "silent": True}
    theirs = written(max(2, chosen.bots // 10))
    offline._LEAN |= lean
    print(f"writing a bot's runs: {ours:.0f} ms (W&B's own settings: {theirs:.0f} ms, ratio {ours / theirs:.2f})")
    if chosen.rounds:
        walls(chosen.rounds, chosen.epochs)


def written(count: int) -> float:
    """Returns the milliseconds per bot for writing its preprocess run and its train run."""
    with tempfile.TemporaryDirectory() as folder:
        bots = tuple(f"bird{i}" for i in range(count + 1))
        stored = StoredRuns.of(published.fleet_of(Path(folder), bots))
        stored.write_bot(bots[0], VERSION)  # starts W&B's process
        started = time.perf_counter()
        for bot in bots[1:]:
            stored.write_bot(bot, VERSION)
        return (time.perf_counter() - started) / count * 1000


def walls(rounds: int, epochs: int) -> None:
    server, slow = WandbServer(), WandbServer()
    slow.delay = 5.0
    addresses = {"disabled": "", "well": server.address, "slow": slow.address, "down": "http://127.0.0.1:9"}
    seconds: dict[str, list[float]] = {name: [] for name in addresses}
    with session(), tempfile.TemporaryDirectory() as folder:
        ensure()
        fleet(folder, "warm-up", "disabled", epochs)
        for turn in range(rounds):
            for name, address in addresses.items():
                os.environ["WANDB_BASE_URL"] = address or server.address
                mode = "disabled" if name == "disabled" else "online"
                seconds[name].append(fleet(folder, f"{name}-{turn}", mode, epochs))
    reference = statistics.median(seconds["well"])
    for name, taken in seconds.items():
        wall = statistics.median(taken)
        print(f"a fleet of four, W&B {name:8} {wall:6.1f} s  {wall / reference:.3f} of well")


def fleet(folder: str, name: str, mode: str, epochs: int) -> float:
    settings = [f"fleet={name}", f"storage={folder}", f"wandb.mode={mode}", f"train.epochs={epochs}"]
    described = fleets.load(ASSETS / "demo.yaml", settings)
    started = time.perf_counter()
    with Progress() as progress:
        report = run.run(described, list(run.STEPS), progress)
    taken = time.perf_counter() - started
    assert {row["status"] for row in report["bots"]} == {"trained"}
    assert mode == "disabled" or len(Store.of(described).list("wandb")) > len(report["bots"])
    return taken


if __name__ == "__main__":
    main()
