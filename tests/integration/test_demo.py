"""`huggingtweets demo`: from the bundled sample to bots that answer, and nothing left behind."""

import os
import signal
import subprocess
import sys
import time

import httpx
import psutil
from ray import serve

from tests.support.toys import ROOT, environment, free_port


def test_the_demo_serves_until_ctrl_c_and_leaves_nothing(base, cluster, tmp_path):
    """With a toy base, since the sample's own takes a minute of training."""
    port = free_port()
    settings = [f"base_model={base}", "train.epochs=1", "wandb.mode=disabled", f"serve.port={port}"]
    options = [part for setting in settings for part in ("--set", setting)]
    command = [sys.executable, "-m", "pipeline", "demo", "--storage", str(tmp_path / "fleets"), *options]
    log = tmp_path / "demo.log"
    with log.open("wb") as output:
        demo = subprocess.Popen(command, cwd=ROOT, env=environment(), stderr=output, start_new_session=True)
    family: list[psutil.Process] = []
    try:
        deadline = time.monotonic() + 300
        while "serving until Ctrl-C" not in log.read_text():
            assert demo.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.5)
        family = psutil.Process(demo.pid).children(recursive=True)
        address = f"http://127.0.0.1:{port}"
        bots = httpx.get(f"{address}/bots").json()["bots"]
        assert [bot["name"] for bot in bots] == ["captain_brine", "deptofpuddles", "moth_at_window", "nana_voltage"]
        assert bots[0]["names"] == {"captain_brine": "Capt. Odalys Brine"}  # as the export says it
        answer = httpx.post(f"{address}/bots/moth_at_window", json={"inputs": "my dream is"}, timeout=60)
        assert answer.json()[0]["generated_text"].startswith("my dream is")
        assert log.read_text().count("My dream is") >= 4 * 3  # what each bot said
    finally:
        os.kill(demo.pid, signal.SIGINT)
        code = demo.wait(timeout=60)
    assert code == 0, log.read_text()
    _, alive = psutil.wait_procs(family, timeout=20)
    assert not alive and not serve.status().applications
