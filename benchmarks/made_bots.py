"""The part of scale.py in which bots are really made: a toy base, from tweets to answers over HTTP.

`run` prepares, trains, evaluates (16 samples) and publishes all bots on a local cluster of its own, then runs again
with nothing to do. `deploy` serves them from a pool, and clients ask them: 1 % of the bots get half of the requests. A
fleet on an S3 server in this process counts the requests to the store. Processor seconds are those of all processes of
a command; on a busy machine they say more than the clock.

    made_bots(10_000, asks=1000, clients=4, s3_bots=100, folder=Path("/tmp/many"))
"""

import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

sys.path.insert(0, str(Path(__file__).parents[1]))  # for tests.support: toy tweets, an S3 server

from tests.support.toys import WORDS, environment, toy_base, tweets_of, write_csv

ROOT = Path(__file__).parents[1]
TWEETS = 130  # of each person, over 6,000 characters
SAMPLES = 16
POPULAR, THEIR_SHARE = 0.01, 0.5  # so many of the bots get so many of the requests
S3_PORT, HTTP_PORT = 8767, 8768
FIGURES: dict[str, str] = {}
# processes that are named in the results, by how their titles begin
PARTS = {
    "ray::RayTrainWorker": "lanes",
    "ray::MapWorker": "evaluators",
    "ray::QueueActor": "queue",
    "ray::TrainController": "controllers",
    "ray::": "other workers of Ray",
    "python": "driver",
}


def made_bots(bots: int, asks: int, clients: int, s3_bots: int, folder: Path) -> dict[str, str]:
    """Makes the bots in `folder`, serves them, prints what that took and returns it by name.

    `asks`: requests to the pool, so many `clients` at the same time; `s3_bots`: bots of the fleet on S3. 0 leaves
    serving, or the fleet on S3, out.
    """
    base = toy_base(folder / "base", layers=1)
    fleet = write_fleet(folder, base, "many", bots)
    first = show_run(fleet, "first run", bots)
    show_run(fleet, "second run, nothing to do", bots)
    made = [one["bot"] for one in first.report["bots"]]
    lost = bots - sum((folder / "fleets/many/bots" / bot / "current").exists() for bot in made)
    row("bots lost", f"{lost}", "0")
    if asks:
        serve(fleet, asks, clients)
    if s3_bots:
        count_requests(folder, base, s3_bots)
    return FIGURES


@dataclass
class Measured:
    """What a command took."""

    report: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    processor: dict[str, float] = field(default_factory=lambda: defaultdict(float))  # seconds by part
    memory: dict[str, float] = field(default_factory=dict)  # resident MB by part, the most at any time


def write_fleet(folder: Path, base: Path, name: str, bots: int, storage: str = "fleets") -> Path:
    """Writes made-up tweets of so many people and a fleet file for them; returns the file's path."""
    tweets = folder / f"{name}-tweets"
    for number in range(bots):
        words = list(WORDS)[number % len(WORDS)]
        write_csv(tweets / f"{name}{number:05}.csv", tweets_of(words, TWEETS, seed=number), first_id=TWEETS * number)
    path = folder / f"{name}.yaml"
    fleet = {"fleet": name, "tweets": [f"{tweets.name}/*.csv"], "base_model": str(base), "storage": storage}
    more = {"evaluate": {"samples": SAMPLES}, "wandb": {"mode": "disabled"}}
    serving = {"endpoint": "pooled", "port": HTTP_PORT, "max_replicas": 1}
    path.write_text(json.dumps(fleet | more | {"serve": serving}))  # JSON is YAML
    return path


def command(name: str, fleet: Path) -> Measured:
    """Runs a command of ours in a process of its own; samples its processes every half second."""
    measured, used = Measured(), {}
    began = time.perf_counter()
    with tempfile.TemporaryFile("w+") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "pipeline", name, str(fleet), "--json"],
            cwd=ROOT,
            env=environment(),
            stdout=out,
            stderr=None if os.environ.get("SCALE_LOG") else subprocess.DEVNULL,
        )
        top = psutil.Process(process.pid)
        while process.poll() is None:
            memory: dict[str, float] = defaultdict(float)
            with suppress(psutil.NoSuchProcess):
                for one in [top, *top.children(recursive=True)]:
                    with suppress(psutil.NoSuchProcess):
                        part, times = _part(one), one.cpu_times()
                        used[one.pid, one.create_time()] = part, times.user + times.system
                        memory[part] += one.memory_info().rss / 1e6
            for part, amount in memory.items():
                measured.memory[part] = max(amount, measured.memory.get(part, 0.0))
            time.sleep(0.5)
        measured.seconds = time.perf_counter() - began
        out.seek(0)
        text = out.read()
    if process.returncode:
        raise SystemExit(f"{name} {fleet} ended with {process.returncode}; SCALE_LOG=1 shows what it says")
    measured.report = json.loads(text)
    for part, seconds in used.values():
        measured.processor[part] += seconds
    return measured


def _part(process: psutil.Process) -> str:
    line = " ".join(process.cmdline())
    title = "python" if " -m pipeline " in line else line
    return next((part for start, part in PARTS.items() if title.startswith(start)), "Ray itself")


def show_run(fleet: Path, title: str, bots: int) -> Measured:
    """Runs the fleet and prints what that took."""
    measured = command("run", fleet)
    row(f"{title}, seconds a bot", f"{measured.seconds / bots:.3f}", f"{measured.seconds:.1f} s in all; wanted 0.15")
    for step, seconds in measured.report["seconds"].items():
        row(f"{title}, {step}", f"{seconds:.1f} s", f"{seconds / bots:.3f} a bot")
    for part, seconds in sorted(measured.processor.items(), key=lambda item: -item[1]):
        row(
            f"{title}, processor seconds of {part}",
            f"{seconds:.1f} s",
            f"{seconds / bots:.3f} a bot; at most {measured.memory[part]:,.0f} MB",
        )
    return measured


def serve(fleet: Path, asks: int, clients: int) -> None:
    """Deploys the bots to a pool and asks them; prints how long answers take."""
    deployed = command("deploy", fleet)
    try:
        address = deployed.report["address"]
        bots = deployed.report["deployed"]
        row("deploy", f"{deployed.seconds:.1f} s", f"{len(bots)} bots")
        random.Random(0).shuffle(bots)
        popular = max(1, round(len(bots) * POPULAR))
        weights = [THEIR_SHARE / popular] * popular + [(1 - THEIR_SHARE) / max(1, len(bots) - popular)] * (
            len(bots) - popular
        )
        asked, lock = set(), threading.Lock()
        first, later = [], []

        def ask(bot: str) -> None:
            with lock:
                is_first = bot not in asked
                asked.add(bot)
            began = time.perf_counter()
            body = {"inputs": "My dream is", "parameters": {"max_new_tokens": 20, "seed": 1}}
            client.post(f"/bots/{bot}", json=body).raise_for_status()
            (first if is_first else later).append(1000 * (time.perf_counter() - began))

        with httpx.Client(base_url=address, timeout=120) as client, ThreadPoolExecutor(clients) as pool:
            list(pool.map(ask, random.Random(1).choices(bots, weights, k=asks)))
        for name, values in (("a bot's first answer", first), ("its later answers", later)):
            if values:
                row(name, f"p50 {percentile(values, 50):.0f} ms, p95 {percentile(values, 95):.0f} ms", f"{len(values)}")
    finally:
        command("undeploy", fleet)


def count_requests(folder: Path, base: Path, bots: int) -> None:
    """Runs a fleet on an S3 server in this process; prints the requests a bot."""
    os.environ |= {"AWS_ACCESS_KEY_ID": "toys", "AWS_SECRET_ACCESS_KEY": "toys", "AWS_DEFAULT_REGION": "us-east-1"}
    os.environ |= {"AWS_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true"}
    os.environ["AWS_ENDPOINT_URL"] = f"http://127.0.0.1:{S3_PORT}"
    from tests.support.s3 import BUCKET, S3Server

    server = S3Server(S3_PORT)
    fleet = write_fleet(folder, base, "remote", bots, storage=f"s3://{BUCKET}")
    for title in ("first run on S3", "second run on S3, nothing to do"):
        before = server.asked
        command("run", fleet)
        requests = server.asked - before
        row(f"{title}: requests a bot", f"{requests / bots:.1f}", f"{requests} for {bots} bots")
    server.stop()


def row(name: str, value: str, note: str) -> None:
    FIGURES[name] = value
    print(f"{name:<64}{value:>28}  {note}", flush=True)


def percentile(values: list[float], percent: int) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * percent / 100))]
