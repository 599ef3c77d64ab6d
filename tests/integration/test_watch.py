"""A run seen from another terminal, and from the cluster's metrics."""

import contextlib
import io
import json
import re
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

import pytest
import ray
from rich.console import Console

from pipeline.core.errors import UserError
from pipeline.core.fleet import Fleet
from pipeline.core.progress import Progress
from pipeline.core.ray_metrics import METRICS
from pipeline.core.store import Store
from pipeline.operate import watch
from pipeline.plan.bot import Bot
from pipeline.report import progress_record
from tests.support.toys import ROOT, environment, until


@pytest.fixture
def store(tmp_path, monkeypatch) -> Store:
    monkeypatch.setattr(progress_record, "BEAT", 0.02)
    monkeypatch.setattr(watch, "BEAT", 0.02)
    monkeypatch.setattr(watch, "_SILENT_SECONDS", 0.5)
    return Store.of(Fleet(fleet="toys", tweets=["."], storage=str(tmp_path)))


def quiet(terminal: bool = False) -> Progress:
    return Progress(Console(file=io.StringIO(), force_terminal=terminal, width=120))


def shown(progress: Progress) -> str:
    return progress.console.file.getvalue()


@pytest.mark.parametrize("terminal", [False, True])
def test_another_terminal_sees_the_run_and_ends_with_it(store, terminal):
    here, there, records = quiet(), quiet(terminal), []
    with there, progress_record.shared(store, here):
        here.start("train", 3, "3 bots")
        here.note("2 lanes, 3 bots left", lanes=2, queue_length=1)
        until(lambda: store.read_json(progress_record.FILE).get("text", "").startswith("2 lanes"))
        watcher = threading.Thread(target=watch.follow, args=(store, there, records.append))
        watcher.start()
        until(lambda: there.step == "train")
        here.advance("ada", bot=Bot("ada", [], status="trained", seconds={"train": 1.0, "handover": 0.1}))
        here.advance("ben failed: no luck", bot=Bot("ben", [], status="failed", reason="no luck"))
        until(lambda: there.done == 2)
        here.start("publish", 1)
        until(lambda: there.step == "publish")
        time.sleep(0.3)  # for the live display to be drawn
    watcher.join(20)
    assert not watcher.is_alive()
    assert "train: 2 lanes, 3 bots left" in shown(there) if not terminal else "publish" in shown(there)
    assert "ben failed: no luck" in shown(there)
    assert records[0]["lanes"] == 2 and records[0]["queue_length"] == 1
    last = records[-1]
    assert last["ended"] and last["failures"] == 1 and set(last["seconds"]) == {"train", "publish"}
    watch.follow(store, there)  # there is nothing more to see
    assert "no command is running on this fleet" in shown(there)


def test_a_watcher_waits_for_a_command_that_has_not_begun(store):
    with progress_record.shared(store, quiet()):
        pass  # an earlier command, which has ended
    there, records = quiet(), []
    watcher = threading.Thread(target=watch.follow, args=(store, there, records.append, 20.0))
    watcher.start()
    until(lambda: "waiting up to 20 s" in shown(there))
    assert not records
    with progress_record.shared(store, here := quiet()):
        here.start("train", 3, "3 bots")
        until(lambda: there.step == "train")
    watcher.join(20)
    assert not watcher.is_alive() and records[-1]["ended"]


def test_a_run_that_fails_or_is_killed_is_told_apart(store):
    with pytest.raises(ValueError), progress_record.shared(store, quiet()):
        watcher = threading.Thread(target=follow_to_the_end, args=(store, errors := []))
        until(lambda: store.exists(progress_record.FILE))
        watcher.start()
        time.sleep(0.1)
        raise ValueError("out of luck")
    watcher.join(20)
    assert errors == ["the command ended: ValueError: out of luck"]
    store.write(progress_record.FILE, json.dumps(store.read_json(progress_record.FILE) | {"ended": False}).encode())
    follow_to_the_end(store, errors)  # as a kill -9 leaves it
    assert "it was killed" in errors[1]


def follow_to_the_end(store: Store, errors: list[str]) -> None:
    try:
        watch.follow(store, quiet())
    except UserError as error:
        errors.append(str(error))


def test_a_store_that_cannot_be_written_stops_no_run(store, monkeypatch):
    def write(name: str, data: bytes) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(Store, "write", lambda self, name, data: write(name, data))
    with progress_record.shared(store, progress := quiet()):
        progress.start("train", 1)
    assert not store.exists(progress_record.FILE)


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


def test_without_the_switch_a_line_ends_in_what_it_is_about(capfd):
    about = "fleet='toys', bot='ada', version='v1'"
    code = f"from pipeline.core.logs import log; log({about}).warning('failed: %s', 'no luck')"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment(), check=True)
    assert "-- failed: no luck fleet=toys bot=ada version=v1" in capfd.readouterr().err


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
