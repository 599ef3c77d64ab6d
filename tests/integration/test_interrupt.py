"""Ctrl-C while a fleet is trained: the command ends soon, says so in one line, and leaves no process behind."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.support.toys import ROOT, environment, until


@pytest.mark.parametrize("step", ["train: ", "train 1/"])
def test_ctrl_c_in_a_run_ends_everything(make_fleet, tmp_path, step):
    """At the start of training, and while bots are trained and evaluated; on a cluster of the command's own, unless
    other tests have one running.
    """
    path = make_fleet(("ada", "ben", "cleo"), train={"lanes": 1, "epochs": 40})
    log = tmp_path / "log"
    own = {name: value for name, value in environment().items() if name != "RAY_ADDRESS"}
    with log.open("wb") as output:
        command = [sys.executable, "-m", "pipeline", "run", str(path)]
        run = subprocess.Popen(command, cwd=ROOT, env=own, stderr=output, stdout=output, start_new_session=True)
    family: list[psutil.Process] = []
    try:
        until(lambda: step in log.read_text() or run.poll() is not None, 150)
        assert run.poll() is None, log.read_text()
        family = psutil.Process(run.pid).children(recursive=True)
        os.killpg(run.pid, signal.SIGINT)  # as a terminal does
        code = run.wait(60)
        lines = log.read_text()
        assert code == 130, lines
        assert lines.rstrip().splitlines()[-1] == "interrupted"
        assert "Traceback" not in lines and "Segmentation" not in lines and "Aborted" not in lines, lines
        _, alive = psutil.wait_procs(family, timeout=15)
        assert not alive
        time.sleep(1)  # for a cluster that would be started now
        assert not [process for process in psutil.process_iter(["cmdline"]) if _belongs(process, tmp_path)]
    finally:
        run.kill()  # where the test failed
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()


def _belongs(process: psutil.Process, folder: Path) -> bool:
    return str(folder) in " ".join(process.info["cmdline"] or [])
