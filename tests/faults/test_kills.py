"""Kills processes of all kinds at random moments while a fleet is made, on a real cluster of several nodes.

    make test-faults            # 20 faults; the log says which and when
    FAULT_KILLS=6 FAULT_BOTS=4 FAULT_SEED=1 make test-faults ARGS="-k kills"

Each bot must end trained once, as seen from the store, with the bytes of an undisturbed run. A driver that was
killed is started again, a node that was killed is replaced. Besides the kills: a lane hangs for longer than
`train.stall_minutes`, a checkpoint loses half of its weights before its lane dies, and a second command wants to work
on the fleet. One node has a library that does not load, so that every lane on it fails.
"""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
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
from tests.support.toys import ROOT, WORDS, environment, ray_processes, tweets_of, write_csv

KILLS = int(os.environ.get("FAULT_KILLS", "20"))
BOTS = int(os.environ.get("FAULT_BOTS", "12"))
FAULTS = (
    "worker",
    "hang",
    "queue",
    "controller",
    "node",
    "driver",
    "checkpoint",
    "second command",
    "publisher",
    "feed",
)
_STALL_MINUTES = 0.4
_IMPORTED = 6.0  # seconds of processor time that a lane has used when it trains
TITLES = {
    "worker": "RayTrainWorker",
    "queue": "QueueActor",
    "controller": "TrainController",
    "publisher": "MapWorker",
    "feed": "_FeedActor",
}


@pytest.fixture
def nodes() -> Iterator[Cluster]:
    """A head without cores, a node on which no lane can be set up, and two good nodes of two cores."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    cluster.add_node(num_cpus=1, env_vars={"DS_ACCELERATOR": "none-that-exists"})
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
        settings = {"epochs": 150, "checkpoint_minutes": 0.05, "retries": 2, "stall_minutes": _STALL_MINUTES}
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


def test_faults_cost_no_bot_and_no_bit(tmp_path: Path, base: Path, nodes: Cluster) -> None:
    calm = Fleet(tmp_path, base, "calm", nodes.address)
    assert calm.driver.wait(timeout=1200) == 0, calm.log.read_text()
    rough = Fleet(tmp_path, base, "rough", nodes.address)
    caused = _disturb_until_done(rough, nodes, random.Random(int(os.environ.get("FAULT_SEED", "0"))))
    assert rough.driver.wait() == 0, rough.log.read_text()
    expected, got = calm.published(), rough.published()
    assert set(got) == {f"bot{i:02}" for i in range(BOTS)}
    assert got == expected
    assert len(caused) == KILLS, caused
    assert set(FAULTS[:KILLS]) <= set(caused)
    assert "is left out because its lanes fail" in calm.log.read_text()


def _disturb_until_done(fleet: Fleet, nodes: Cluster, rng: random.Random) -> list[str]:
    """Causes KILLS faults at random moments of work: each costs something, and the fleet gets on between them."""
    started, caused = time.monotonic(), []
    while time.monotonic() - started < 3000:
        time.sleep(0.2)
        if fleet.driver.poll() is not None:
            if fleet.driver.returncode != -signal.SIGKILL:
                break
            fleet.start()
        if len(caused) == KILLS or not _at_work():
            continue
        time.sleep(rng.uniform(0, 6))
        fault = FAULTS[len(caused) % len(FAULTS)]
        if _cause(fault, fleet, nodes, rng):
            caused.append(fault)
            print(f"{time.monotonic() - started:6.1f} s: fault {len(caused)}: {fault}", flush=True)
    return caused


def _at_work() -> bool:
    """Whether a lane is past its imports."""
    return any(worker.info["cpu_times"].user > _IMPORTED for worker in ray_processes(TITLES["worker"]))


def _cause(fault: str, fleet: Fleet, nodes: Cluster, rng: random.Random) -> bool:
    """Causes a fault; returns whether there was anything to cause it to."""
    if fault == "driver":
        fleet.driver.send_signal(signal.SIGKILL)
        return True
    if fault == "node":
        node = rng.choice(nodes.list_all_nodes()[2:])  # a good one
        nodes.remove_node(node, allow_graceful=False)
        nodes.add_node(num_cpus=2)
        return True
    if fault == "second command":
        return _is_refused(fleet)
    if fault == "checkpoint" and not _halve_a_checkpoint(fleet, rng):
        return False
    found = ray_processes(TITLES.get(fault, TITLES["worker"]))
    if found and fault == "hang":
        process = rng.choice(found)
        process.suspend()
        threading.Timer(1.5 * 60 * _STALL_MINUTES, _resume, [process]).start()
    elif found:
        for process in found if fault == "checkpoint" else [rng.choice(found)]:
            process.send_signal(signal.SIGKILL)
    return bool(found)


def _resume(process: psutil.Process) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        process.resume()


def _halve_a_checkpoint(fleet: Fleet, rng: random.Random) -> bool:
    """Cuts the weights of a complete checkpoint in half; returns whether there is one."""
    complete = list(Path(fleet.store.path("work/checkpoints")).glob("*/*/*/log.json"))
    if not complete:
        return False
    weights = rng.choice(complete).with_name("weights.safetensors")
    with contextlib.suppress(FileNotFoundError):  # its lane has just written the next one
        weights.write_bytes(weights.read_bytes()[: weights.stat().st_size // 2])
        return True
    return False


def _is_refused(fleet: Fleet) -> bool:
    """Starts a second command on the fleet; returns whether it was refused and told who works on it."""
    command = [sys.executable, "-m", "pipeline", "prepare", str(fleet.path), "--json"]
    environ = environment() | {"RAY_ADDRESS": fleet.address}
    ended = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True)
    return ended.returncode == 1 and "is in use by `run`" in ended.stderr


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
