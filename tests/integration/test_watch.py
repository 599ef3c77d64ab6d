"""A run on a cluster: what another terminal, the log and the node's metrics show of it."""

import contextlib
import json
import re
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path

import ray

from pipeline.core.ray_metrics import METRICS
from pipeline.report import progress_record
from tests.support.toys import ROOT, environment, until


def test_the_terminal_and_the_metrics_of_a_real_run(make_fleet, huggingtweets, cluster):
    path = make_fleet(("ada", "ben"), name="seen", bots=["ada", "ben", "ghost"], train={"lanes": 1, "epochs": 60})
    command = [sys.executable, "-m", "pipeline", "run", str(path)]
    with (path.parent / "log").open("wb") as log:
        as_json = environment() | {"RAY_LOGGING_CONFIG_ENCODING": "JSON"}
        run = subprocess.Popen(command, cwd=ROOT, env=as_json, stderr=log)
    record = path.parent / "fleets" / "seen" / progress_record.FILE
    until(record.exists, 150)
    exported, ended = {}, threading.Event()
    sampler = threading.Thread(target=sample, args=(exported, ended))
    sampler.start()
    code, out, err = huggingtweets("status", path, "--watch", "--json")
    ended.set()
    sampler.join()
    status, said = run.wait(60), (path.parent / "log").read_text()
    assert status == 3, said  # nobody has tweets of @ghost
    assert code == 0, err
    *records, report = [json.loads(line) for line in out.splitlines()]
    assert {"train", "evaluate", "publish"} <= set(records[-1]["seconds"])
    assert max(one["lanes"] for one in records if one["step"] == "train") == 1
    assert [row["status"] for row in report["bots"]] == ["trained", "trained", "failed"]
    exported |= (last := metrics_of_this_node())
    assert set(METRICS) - {"bots_failed_total"} <= {name for name, labels in exported}  # none failed in a stage
    assert exported["bots_trained_total", ("seen",)] == exported["bots_published_total", ("seen",)] == 2
    tokens = sum(row["metrics"]["train"]["tokens"] for row in report["bots"] if row["metrics"])
    assert exported["lane_tokens_total", ("seen", "run-0/0")] == tokens
    assert exported["bot_seconds_count", ("seen", "train")] == 2
    assert last.get(("fleet_running", ("seen",)), 0) == 0

    check_lines(said, [row["version"] for row in report["bots"]])


def check_lines(said: str, versions: list[str]) -> None:
    """What the command and its workers said: JSON, with fleet, bot and version."""
    driver = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
    [line] = [line for line in driver if "ada: held-out loss" in line["message"]]
    assert (line["fleet"], line["bot"], line["version"], line["step"]) == ("seen", "ada", versions[0], "train")
    assert not re.search(r"^(prepare|train|evaluate|publish)\b", said, re.MULTILINE)
    logs = Path(ray._private.worker.global_worker.node.get_logs_dir_path())
    text = "".join(path.read_text(errors="replace") for path in logs.glob("worker-*.err"))
    workers = [json.loads(line) for line in text.splitlines() if '"fleet": "seen"' in line]
    bens = [line for line in workers if line["bot"] == "ben"]
    assert {line["version"] for line in bens} == {versions[1]} and all("node_id" in line for line in bens)
    texts = " ".join(line["message"] for line in bens)
    for part in ("trained in", "its model is in the store", "measured in", "published in"):
        assert part in texts


def sample(exported: dict, ended: threading.Event) -> None:
    """Gauges of a driver go with it: what is exported while it works."""
    while not ended.wait(2):
        with contextlib.suppress(OSError):  # a busy node is slow to tell
            exported |= metrics_of_this_node()


def metrics_of_this_node() -> dict[tuple[str, tuple[str, ...]], float]:
    """Ours of what the node exports to Prometheus: {(name, values of our labels): value}."""
    [node] = [node for node in ray.nodes() if node["Alive"]]
    with urllib.request.urlopen(f"http://127.0.0.1:{node['MetricsExportPort']}/metrics", timeout=10) as reply:
        text = reply.read().decode()
    found = {}
    for name, labels, value in re.findall(r"^ray_(\w+)\{(.*)\} (\S+)$", text, re.MULTILINE):
        ours = dict(re.findall(r'(\w+)="([^"]*)"', labels))
        if "fleet" in ours:
            values = tuple(ours[key] for key in ("fleet", "lane", "stage", "part") if key in ours)
            found[name, values] = float(value)
            found[re.sub(r"_(bucket|count|sum)$", "", name), values] = float(value)
    return found
