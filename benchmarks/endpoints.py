"""Measures endpoints on Serve: time to deploy, first token of a sleeping bot, overhead of HTTP, and memory.

    make bench-endpoints                              # 1,000 pooled bots, 100 dedicated, 10 minutes of traffic
    make bench-endpoints ARGS="--bots 50 --dedicated 5 --minutes 0.5"

All bots are the bundled mini under different names. Memory is the proportional set size (PSS) of all processes of the
cluster. Locust makes the traffic (benchmarks/load.py).
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import psutil

from pipeline.core import fleet as fleets
from pipeline.core import ray_session
from pipeline.core.model_folder import WEIGHTS, ModelFolder
from pipeline.core.own_code import ASSETS
from pipeline.core.store import Store

VERSION = "000000000001"
ROWS: list[tuple[str, str, str]] = []


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bots", type=int, default=1000, help="pooled bots")
    parser.add_argument("--dedicated", type=int, default=100, help="dedicated bots")
    parser.add_argument("--minutes", type=float, default=10.0, help="minutes of mixed traffic; 0 skips it")
    parser.add_argument("--users", type=int, default=8, help="users that send requests at the same time")
    parser.add_argument("--asks", type=int, default=100, help="requests per measured latency")
    parser.add_argument("--port", type=int, default=8765)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        ray_session.start_head("--include-dashboard=false", "--num-cpus=2")
        try:
            run(Path(folder), options)
        finally:
            ray_session.stop_head()
    width = max(len(row[0]) for row in ROWS)
    for name, value, wanted in ROWS:
        print(f"{name:<{width}}  {value:>16}  {wanted}")


def run(folder: Path, options: argparse.Namespace) -> None:
    from serve.deploy import deploy, undeploy

    def fleet(name: str, count: int, endpoint: str) -> tuple[Any, dict[str, str]]:
        path = folder / f"{name}.yaml"
        serve = {"endpoint": endpoint, "port": options.port, "max_replicas": 1, "idle_seconds": 20}
        path.write_text(json.dumps({"fleet": name, "tweets": ["none.csv"], "serve": serve}))
        return fleets.load(path), publish(folder / "fleets" / name, name, count)

    pooled, versions = fleet("pooled", options.bots, "pooled")
    first = dict(list(versions.items())[:1])
    address = deploy(pooled, Store.of(pooled), first, whole=False)["address"]
    with httpx.Client(base_url=address, timeout=120) as client:
        ask(client, next(iter(first)))
        time.sleep(5)
        one = memory()
        seconds = timed(lambda: deploy(pooled, Store.of(pooled), versions))
        row(f"deploy {options.bots} pooled bots", f"{seconds:.1f} s", "at most 10 s for 1,000")
        time.sleep(5)
        row(
            f"memory of {options.bots} idle bots over 1",
            f"{memory() - one:+.0f} MB",
            f"at most 100 MB (1: {one:.0f} MB)",
        )
        overhead(client, next(iter(first)), folder / "fleets" / "pooled", options.asks)
        sleeping = [ms(lambda bot=bot: ask(client, bot, 1)) for bot in list(versions)[1 : options.asks + 1]]
        row("a sleeping pooled bot's first token, p50", f"{percentile(sleeping, 50):.0f} ms", "")
        row("a sleeping pooled bot's first token, p95", f"{percentile(sleeping, 95):.0f} ms", "at most 250 ms")
        if options.dedicated:
            dedicated, own = fleet("dedicated", options.dedicated, "dedicated")
            seconds = timed(lambda: deploy(dedicated, Store.of(dedicated), own))
            row(f"deploy {options.dedicated} dedicated bots", f"{seconds:.1f} s", "at most 30 s for 100")
            undeploy("dedicated")
        if options.minutes:
            traffic(address, options)
    undeploy("pooled")


def publish(folder: Path, name: str, count: int) -> dict[str, str]:
    """Publishes bots that share the files of one bot on the disk; returns {bot: version}."""
    base = ModelFolder.read(ASSETS / "mini")
    files = base.bot_files(base.files[WEIGHTS])
    files["stats.json"] = json.dumps(
        {"tweets": {"x": {"downloaded": 9, "retweets": 1, "short": 1, "kept": 7}}}
    ).encode()
    files["metrics.json"] = json.dumps({"held_out": {"loss": 4.0}}).encode()
    original = folder / "original"
    original.mkdir(parents=True)
    for file, data in files.items():
        (original / file).write_bytes(data)
    versions = {f"{name[:4]}{number:05d}": VERSION for number in range(count)}
    for bot in versions:
        (folder / "bots" / bot / VERSION).mkdir(parents=True)
        for file in files:
            os.link(original / file, folder / "bots" / bot / VERSION / file)
        (folder / "bots" / bot / "current").write_text(VERSION)
    return versions


def ask(client: httpx.Client, bot: str, tokens: int = 20) -> None:
    parameters = {"max_new_tokens": tokens, "min_new_tokens": tokens, "seed": 1}
    client.post(f"/bots/{bot}", json={"inputs": "My dream is", "parameters": parameters}).raise_for_status()


def overhead(client: httpx.Client, bot: str, fleet: Path, asks: int) -> None:
    """Prints the median times of a request over HTTP and of the same request to an engine in this process."""
    import torch

    from serve.engine.engine import Engine
    from serve.engine.parameters import Parameters
    from serve.engine.request import Request
    from serve.engine.thread import EngineThread

    torch.set_num_threads(1)
    thread = EngineThread(Engine(fleet / "bots" / bot / VERSION))
    parameters = Parameters(max_new_tokens=20, min_new_tokens=20, seed=1)
    alone, http = [], []
    for _ in range(asks):
        alone.append(ms(lambda: thread.submit(Request("My dream is", parameters)).result()))
        http.append(ms(lambda: ask(client, bot)))
    thread.close()
    row("20 tokens by the engine alone, median", f"{statistics.median(alone):.1f} ms", "")
    row("20 tokens over HTTP, one client, median", f"{statistics.median(http):.1f} ms", "")
    row(
        "what HTTP, gateway and Serve add",
        f"{statistics.median(http) - statistics.median(alone):.1f} ms",
        "at most 15 ms",
    )


def traffic(address: str, options: argparse.Namespace) -> None:
    """Runs mixed traffic; prints its errors, and the growth of memory after the first quarter, which is warm-up."""
    seconds = options.minutes * 60
    samples: list[float] = []
    over = threading.Event()

    def watch() -> None:
        while not over.wait(max(1.0, seconds / 60)):
            samples.append(memory())

    watcher = threading.Thread(target=watch)
    watcher.start()
    command = ["locust", "-f", str(Path(__file__).parent / "load.py"), "--headless", "--only-summary", "-H", address]
    command += ["-u", str(options.users), "-r", "4", "-t", f"{int(seconds)}s", "--json", "--exit-code-on-error", "0"]
    program = str(Path(sys.executable).parent / command[0])
    done = subprocess.run([program, *command[1:]], capture_output=True, text=True)
    over.set()
    watcher.join()
    stats = json.loads(done.stdout)
    requests = sum(one["num_requests"] for one in stats)
    failures = sum(one["num_failures"] for one in stats)
    if failures:
        print(done.stderr[-3000:], file=sys.stderr)
    row(f"{options.minutes:g} minutes of traffic: requests", f"{requests}", f"{requests / seconds:.1f} a second")
    row("  errors other than 429 and 503", f"{failures}", "none")
    warm = samples[len(samples) // 4 :]
    half = len(warm) // 2
    grown = statistics.median(warm[half:]) - statistics.median(warm[:half])
    row(
        "  memory, second half over first (warm)", f"{grown:+.0f} MB", f"flat (median {statistics.median(warm):.0f} MB)"
    )


def memory() -> float:
    """Returns the memory of all processes of the cluster in MB; shared memory counts once."""
    total = 0
    for process in psutil.process_iter():
        try:
            line = " ".join(process.cmdline())
            if "ray" in line and process.pid != os.getpid():
                total += process.memory_full_info().pss
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            continue
    return total / 1e6


def row(name: str, value: str, wanted: str) -> None:
    ROWS.append((name, value, wanted))
    print(f"{name}: {value}  {wanted}", file=sys.stderr, flush=True)


def timed(work: Callable[[], Any]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def ms(work: Callable[[], Any]) -> float:
    return timed(work) * 1000


def percentile(values: list[float], percent: int) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * percent / 100))]


if __name__ == "__main__":
    main()
