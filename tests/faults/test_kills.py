"""Kills processes of all kinds at random moments while a fleet is made, on a real cluster of several nodes.

    make test-faults            # 20 kills; the log says which process died when
    FAULT_KILLS=6 FAULT_BOTS=4 FAULT_SEED=1 make test-faults ARGS="-k kills"

Each bot must end trained once, as seen from the store, with the bytes of an undisturbed run. A driver that was
killed is started again, a node that was killed is replaced.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from ray.cluster_utils import Cluster

from pipeline.core import fleet as fleets
from pipeline.core.model_folder import WEIGHTS
from pipeline.core.store import Store
from tests.support.toys import ROOT, WORDS, cpu_seconds, environment, ray_processes, tweets_of, write_csv

KILLS = int(os.environ.get("FAULT_KILLS", "20"))
BOTS = int(os.environ.get("FAULT_BOTS", "12"))
VICTIMS = ("worker", "worker", "queue", "controller", "node", "driver", "worker", "queue", "publisher", "node")
_IMPORTED = 6.0  # seconds of processor time that a lane has used when it trains
TITLES = {
    "worker": "RayTrainWorker",
    "queue": "QueueActor",
    "controller": "TrainController",
    "publisher": "PoolActor",
}


@pytest.fixture
def nodes() -> Iterator[Cluster]:
    """A head without cores and two nodes of two."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    for _ in range(2):
        cluster.add_node(num_cpus=2)
    yield cluster
    cluster.shutdown()


class Fleet:
    """The command `run` on toy bots, started again when it dies."""

    def __init__(self, folder: Path, base: Path, name: str, address: str):
        for i in range(BOTS):
            write_csv(
                folder / "tweets" / f"bot{i:02}.csv", tweets_of(list(WORDS)[i % 3], 130 + 5 * i), first_id=1000 * i
            )
        settings = {"epochs": 150, "checkpoint_minutes": 0.05, "retries": 2}
        fleet = {"fleet": name, "tweets": ["tweets/*.csv"], "base_model": str(base), "wandb": {"mode": "disabled"}}
        self.path = folder / f"{name}.yaml"
        self.path.write_text(json.dumps(fleet | {"train": settings}))
        self.store = Store.of(fleets.load(self.path))
        self.address, self.log = address, folder / f"{name}.log"
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-m", "pipeline", "run", str(self.path), "--json"]
        with self.log.open("ab") as log:
            self.driver = subprocess.Popen(
                command, cwd=ROOT, env=environment() | {"RAY_ADDRESS": self.address}, stdout=log, stderr=log
            )

    def published(self) -> dict[str, bytes]:
        """Each bot's weights. A bot has one version, trained and published once."""
        found = {}
        for bot in self.store.list("bots"):
            [version] = [name for name in self.store.list(f"bots/{bot}") if name != "current"]
            assert self.store.read(f"bots/{bot}/current").decode() == version
            found[bot] = self.store.read(f"bots/{bot}/{version}/{WEIGHTS}")
        assert not self.store.list("work/trained") and not self.store.list("work/checkpoints")
        return found


def test_kills_cost_no_bot_and_no_bit(tmp_path: Path, base: Path, nodes: Cluster) -> None:
    calm = Fleet(tmp_path, base, "calm", nodes.address)
    assert calm.driver.wait(timeout=1200) == 0, calm.log.read_text()
    rough = Fleet(tmp_path, base, "rough", nodes.address)
    killed = _kill_until_done(rough, nodes, random.Random(int(os.environ.get("FAULT_SEED", "0"))))
    assert rough.driver.wait() == 0, rough.log.read_text()
    expected, got = calm.published(), rough.published()
    assert set(got) == {f"bot{i:02}" for i in range(BOTS)}
    assert got == expected
    assert len(killed) == KILLS, killed
    assert set(VICTIMS[:KILLS]) <= set(killed)


def _kill_until_done(fleet: Fleet, nodes: Cluster, rng: random.Random) -> list[str]:
    """KILLS times at a random moment of work, so that each costs something and the fleet gets on between them."""
    started, killed = time.monotonic(), []
    while time.monotonic() - started < 3000:
        time.sleep(0.2)
        if fleet.driver.poll() is not None:
            if fleet.driver.returncode != -signal.SIGKILL:
                break
            fleet.start()
        if len(killed) == KILLS or not _at_work():
            continue
        time.sleep(rng.uniform(0, 6))
        victim = VICTIMS[len(killed) % len(VICTIMS)]
        if _kill(victim, fleet, nodes, rng):
            killed.append(victim)
            print(f"{time.monotonic() - started:6.1f} s: kill -9 {len(killed)}: {victim}", flush=True)
    return killed


def _at_work() -> bool:
    """Whether a lane is past its imports."""
    return any(cpu_seconds(worker) > _IMPORTED for worker in ray_processes(TITLES["worker"]))


def _kill(victim: str, fleet: Fleet, nodes: Cluster, rng: random.Random) -> bool:
    if victim == "driver":
        fleet.driver.send_signal(signal.SIGKILL)
        return True
    if victim == "node":
        node = rng.choice(nodes.list_all_nodes()[1:])
        nodes.remove_node(node, allow_graceful=False)
        nodes.add_node(num_cpus=2)
        return True
    found = ray_processes(TITLES[victim])
    if found:
        rng.choice(found).send_signal(signal.SIGKILL)
    return bool(found)


def test_thirty_two_lanes_in_one_fleet_and_what_memory_they_take(tmp_path: Path, base: Path, capsys: Any) -> None:
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 32})
    try:
        for i in range(32):
            write_csv(tmp_path / "tweets" / f"bot{i:02}.csv", tweets_of(list(WORDS)[i % 3], 130 + i), first_id=1000 * i)
        fleet = {"fleet": "wide", "tweets": ["tweets/*.csv"], "base_model": str(base), "wandb": {"mode": "disabled"}}
        path = tmp_path / "wide.yaml"
        path.write_text(json.dumps(fleet | {"train": {"lanes": 32, "epochs": 20}}))
        environ = environment() | {"RAY_ADDRESS": cluster.address}
        command = [sys.executable, "-m", "pipeline", "train", str(path), "--json"]
        prepare = [sys.executable, "-m", "pipeline", "prepare", str(path), "--json"]
        subprocess.run(prepare, cwd=ROOT, env=environ, check=True, capture_output=True)
        with (tmp_path / "out").open("wb") as out:
            driver = subprocess.Popen(command, cwd=ROOT, env=environ, stdout=out, stderr=subprocess.DEVNULL)
        most: dict[str, tuple[int, float]] = {}
        while driver.poll() is None:
            for kind in ("worker", "controller", "queue"):
                running = ray_processes(TITLES[kind])
                if len(running) >= most.get(kind, (0, 0))[0]:
                    most[kind] = len(running), sum(map(_memory, running)) / 2**30
            time.sleep(2)
        assert driver.returncode == 0
        assert {row["status"] for row in json.loads((tmp_path / "out").read_text())["bots"]} == {"trained"}
        assert most["worker"][0] == 32 and most["controller"][0] == 4
        with capsys.disabled():
            told = "; ".join(f"{count} x {kind}: {gigabytes:.1f} GiB" for kind, (count, gigabytes) in most.items())
            print(f"\n32 lanes, proportional set size: {told}")
    finally:
        cluster.shutdown()


def _memory(process: psutil.Process) -> int:
    """A process's bytes, those it shares divided among the sharers."""
    try:
        return process.memory_full_info().pss
    except psutil.NoSuchProcess:
        return 0
