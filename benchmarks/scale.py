"""What grows with the number of bots: how long commands and the gateway take on a large fleet.

    python benchmarks/scale.py --catalogue 100000       # a made-up fleet on a slow object store, some 10 minutes
    python benchmarks/scale.py --bots 10000             # really made, an hour on two cores; 300 take some minutes

`--catalogue` measures `status`, a `run` that has nothing to do, `gc`, and a gateway's lists of bots. The fleet is made
up: a manifest, an index of people and a report for so many bots, whose folders a local S3 server
(tests/support/made_up_s3.py) makes up when they are asked for, with 30 ms for each request.

`--bots` makes so many bots of a toy base and serves them (made_bots.py).
"""

import argparse
import json
import multiprocessing
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))  # for tests.support

from fastapi.testclient import TestClient

from benchmarks.made_bots import made_bots
from pipeline import tweets
from pipeline.core import fleet as fleets
from pipeline.core.fleet import Fleet
from pipeline.core.manifest import Writer
from pipeline.core.signing import Keyring, SigningKey
from pipeline.core.store import Store
from pipeline.plan.bots import plan
from pipeline.plan.job import Job, open_job
from pipeline.prepare.dataset import _fingerprint, resolved
from pipeline.prepare.index import INDEX, Person, Prepared
from serve.deploy import bot_settings
from serve.deployments import gateway, published
from serve.http.routes import build
from tests.support.made_up_s3 import measured, serving
from tests.support.published import counts

REQUEST_SECONDS = 0.03
PAGES = 50  # of GET /bots that are asked for


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--catalogue", type=int, metavar="BOTS", help="a made-up fleet of so many published bots")
    options.add_argument("--bots", type=int, help="so many bots that are really made")
    options.add_argument("--asks", type=int, default=1000, help="requests to them; 0 leaves serving out")
    options.add_argument("--clients", type=int, default=4, help="requests at the same time")
    options.add_argument("--s3-bots", type=int, default=100, help="bots of a fleet on S3; 0 leaves it out")
    options.add_argument("--json", type=Path, help="a file for the figures")
    chosen = options.parse_args()
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="scale-") as scratch:
        if chosen.catalogue:
            figures["catalogue"] = catalogue(chosen.catalogue, Path(scratch))
        if chosen.bots:
            figures["made bots"] = made_bots(chosen.bots, chosen.asks, chosen.clients, chosen.s3_bots, Path(scratch))
    print(json.dumps(figures, indent=2))
    if chosen.json:
        chosen.json.write_text(json.dumps(figures, indent=2) + "\n")


def catalogue(number: int, scratch: Path) -> dict[str, Any]:
    """Seconds, requests and memory of the commands and the gateway on a made-up fleet of so many bots."""
    (scratch / "tweets.csv").write_text('user,text\nwren,"A tweet of wren, about rain and nests."\n')
    path = scratch / "many.yaml"
    settings = {"fleet": "many", "tweets": ["tweets.csv"], "wandb": {"mode": "disabled"}, "storage": "s3://fleets/all"}
    path.write_text(json.dumps(settings))
    fleet = fleets.load(path)
    local = open_job(fleet.model_copy(update={"storage": str(scratch / "plan")}))
    prepared = _people(fleet, local, number)
    versions = {bot.name: bot.version or "" for bot in plan(local, prepared)}
    figures: dict[str, Any] = {}
    with serving(versions, REQUEST_SECONDS) as (address, requests):
        os.environ |= {"AWS_ENDPOINT_URL": address, "AWS_EC2_METADATA_DISABLED": "true", "AWS_REGION": "us-east-1"}
        os.environ |= {"AWS_ACCESS_KEY_ID": "scale", "AWS_SECRET_ACCESS_KEY": "scale"}
        store = Store.of(fleet)
        index = {name: value for name, value in asdict(prepared).items() if name != "unchanged"}
        store.write(INDEX, json.dumps(index).encode())
        _write_manifest(store, versions)
        say(f"{number:,} bots are made up")
        for name, words in {"first run": ["run"], "run": ["run"], "status": ["status"], "gc": ["gc"]}.items():
            before = requests.value
            figures[name] = _command([*words, str(path)]) | {"requests": requests.value - before}
            say(f"{name}: {figures[name]}")
        with multiprocessing.get_context("spawn").Pool(1) as pool:  # a process whose memory is the gateway's
            figures["gateway"] = pool.apply(_gateway, (fleet, versions))
        say(f"gateway: {figures['gateway']}")
    return figures


def _people(fleet: Fleet, job: Job, number: int) -> Prepared:
    names = [f"bot_{i}" for i in range(number)]
    people = {name: Person(name, counts(), 50_000, 9_000, f"{i:064x}") for i, name in enumerate(names)}
    fingerprint = _fingerprint(
        tweets.files_of(fleet), job.base.tokenizer_json, job.train.holdout, resolved(fleet.filters)
    )
    return Prepared(people, {}, {}, 0, fingerprint)


def _write_manifest(store: Store, versions: Mapping[str, str]) -> None:
    writer = Writer(store)
    writer._unknown = set()  # nothing but these versions is in the bots' folders
    for bot, version in versions.items():
        stats = {"handles": [bot], "tweets": {bot: counts()}}
        profiles = {"names": {}, "pictures": []}
        content = {"metrics.json": measured(bot), "stats.json": stats, "profiles.json": profiles}
        writer.add(bot, version, content)
    writer.close()


def _command(words: list[str]) -> dict[str, float]:
    """Seconds and peak memory of a command of ours."""
    began = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "pipeline", *words], stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"`{' '.join(words)}` failed")
    seconds, processor = time.perf_counter() - began, used.ru_utime + used.ru_stime
    return {"seconds": round(seconds, 1), "processor_seconds": round(processor, 1), "peak_mb": used.ru_maxrss // 1024}


def _gateway(fleet: Fleet, versions: Mapping[str, str]) -> dict[str, float]:
    """Fills a gateway's table from the store, and asks it for pages of bots."""
    empty, began = _memory(), time.perf_counter()
    settings = bot_settings(fleet)
    records = {bot: {"version": version, "settings": settings} for bot, version in versions.items()}
    one = object.__new__(gateway.Gateway.func_or_class)
    one.table, one.catalogues, one.listed = published.read_entries(Store.of(fleet), records), {}, False
    one.keyrings = {fleet.fleet: Keyring((SigningKey.new(),))}
    filled, memory = time.perf_counter() - began, _memory() - empty
    seconds: dict[str, list[float]] = {"page": [], "search": []}
    processor: dict[str, list[float]] = {"page": [], "search": []}
    with TestClient(build(one)) as client:
        cursor = ""
        for _ in range(PAGES):
            for name, query in {"page": {"cursor": cursor, "limit": "100"}, "search": {"q": "_9"}}.items():
                clocks = time.perf_counter(), time.process_time()
                answer = client.get("/bots", params=query).raise_for_status().json()
                seconds[name].append(time.perf_counter() - clocks[0])
                processor[name].append(time.process_time() - clocks[1])
                if name == "page":
                    cursor = answer["next"] or ""  # after the last page the first one again
    figures = {f"{name}_p95_ms": round(1e3 * statistics.quantiles(of, n=20)[-1], 1) for name, of in seconds.items()}
    figures |= {f"{name}_processor_ms": round(1e3 * statistics.median(of), 1) for name, of in processor.items()}
    return figures | {"seconds_to_fill": round(filled, 1), "table_mb": memory}


def _memory() -> int:
    """Megabytes that this process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() // 2**20


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
