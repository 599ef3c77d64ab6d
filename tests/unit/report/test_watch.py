"""A run seen from another terminal, and its lines in the log."""

import io
import json
import subprocess
import sys
import threading
import time

import pytest
from rich.console import Console

from pipeline.core.errors import UserError
from pipeline.core.fleet import Fleet
from pipeline.core.progress import Progress
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


def test_failed_and_killed_runs_are_distinguished(store):
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


def test_without_the_switch_a_line_ends_in_what_it_is_about(capfd):
    about = "fleet='toys', bot='ada', version='v1'"
    code = f"from pipeline.core.logs import log; log({about}).warning('failed: %s', 'no luck')"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment(), check=True)
    assert "-- failed: no luck fleet=toys bot=ada version=v1" in capfd.readouterr().err
