"""Ctrl-C in a `run`: the command ends soon, says so in one line, and leaves no process behind."""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.support.toys import ROOT, environment, ray_processes, until
from tests.support.warm_program import WarmProgram

ACTORS = ("QueueActor", "PoolActor", "TrainController", "RayTrainWorker")
# Text of the command's output that is waited for, and the seconds after it at which Ctrl-C is pressed.
MOMENTS = [
    ("", 0.1),
    ("", 0.6),
    ("prepare: ", 0.0),
    ("prepare: ", 0.7),
    ("train: ", 0.0),
    ("train: ", 0.7),
    ("train: ", 3.0),
    ("train 1/", 0.0),
]


@pytest.fixture(scope="module")
def program() -> Iterator[WarmProgram]:
    program = WarmProgram(environment())
    yield program
    program.stop()


def test_ctrl_c_at_eight_moments_of_a_run_on_a_cluster(cluster, program, make_fleet, tmp_path):
    """Each ends with a line and leaves the cluster as it was; the fleet is prepared by the first that trains."""
    path = make_fleet(("ada", "ben", "cleo"), train={"lanes": 1, "epochs": 40})
    for number, (text, seconds) in enumerate(MOMENTS):
        log = tmp_path / f"log-{number}"
        command = program.start(["run", str(path)], log)
        try:
            until(lambda log=log, text=text: text in log.read_text(), 240)
            time.sleep(seconds)
            os.killpg(command, signal.SIGINT)  # as a terminal does
            pressed = time.monotonic()
            _check(program.exit_code(), log, f"{text}+{seconds}")
            assert time.monotonic() - pressed < 10
        finally:
            _kill(command)
    until(lambda: not _actors(), 30)


def test_ctrl_c_on_a_cluster_of_the_commands_own_ends_it_too(make_fleet, tmp_path):
    path, log = make_fleet(), tmp_path / "log"
    own = {name: value for name, value in environment().items() if name != "RAY_ADDRESS"}
    family: list[psutil.Process] = []
    with tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp") as folder, log.open("wb") as output:
        command = subprocess.Popen(
            [sys.executable, "-m", "pipeline", "run", str(path)],
            cwd=ROOT,
            env=own | {"RAY_TMPDIR": folder},  # where it finds no cluster of other tests
            stderr=output,
            stdout=output,
            start_new_session=True,
        )
        try:
            until(lambda: "prepare: " in log.read_text(), 90)
            family = psutil.Process(command.pid).children(recursive=True)
            os.killpg(command.pid, signal.SIGINT)
            _check(command.wait(20), log, "own cluster")
            _, alive = psutil.wait_procs(family, timeout=15)
            assert not alive
            time.sleep(1)  # for a cluster that would be started now
            found = [" ".join(process.info["cmdline"] or []) for process in psutil.process_iter(["cmdline"])]
            assert not [line for line in found if str(tmp_path) in line or folder in line]
        finally:
            for process in [command, *family]:
                _kill(process.pid)


def _check(code: int, log: Path, moment: str) -> None:
    lines = log.read_text()
    assert code == 130, (moment, lines)
    assert lines.rstrip().splitlines()[-1] == "interrupted", (moment, lines)
    assert not [word for word in ("Traceback", "Segmentation", "Aborted", "core_worker") if word in lines], lines


def _actors() -> list[psutil.Process]:
    """The processes of the runs' actors. Ray Data leaves two of its own to the cluster, and idle workers wait there."""
    return [process for title in ACTORS for process in ray_processes(title)]


def _kill(process: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, signal.SIGKILL)
