"""One command at a time on a fleet: who gets the lease, who has to wait, and what a command that died leaves behind."""

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from pipeline.core import lease as leases
from pipeline.core.errors import UserError
from pipeline.core.fleet import Fleet
from pipeline.core.lease import FOLDER, Lease, held
from pipeline.core.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.of(Fleet(fleet="birds", tweets=["."], storage=str(tmp_path)))


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "RENEWAL_SECONDS", 0.05)
    monkeypatch.setattr(leases, "_PAUSE_SECONDS", (0.0, 0.05))


def from_elsewhere(store: Store, age: float, name: str = "theirs", **changes: object) -> Path:
    """A claim of another machine's command that was renewed `age` seconds ago."""
    content = {"command": "run", "owner": "ada@far", "machine": "another", "pid": 1, "process_started": 1.0, "since": 9}
    store.write(f"{FOLDER}/{name}.json", json.dumps(content | changes).encode())
    path = Path(store.path(f"{FOLDER}/{name}.json"))
    os.utime(path, (time.time() - age, time.time() - age))
    return path


def test_a_second_command_is_refused_with_the_name_of_the_first_and_waits_where_it_is_asked_to(store):
    lines: list[str] = []
    taken = threading.Event()

    def second() -> None:
        with held(store, "train", wait=True, say=lines.append):
            taken.set()

    with held(store, "run"):
        with pytest.raises(
            UserError, match=rf"birds is in use by `run` of .*process {os.getpid()}\), since 20"
        ) as error:
            held(store, "gc").__enter__()
        assert error.value.exit_code == 1 and "--wait" in str(error.value)
        waiting = threading.Thread(target=second)
        waiting.start()
        time.sleep(0.3)
        assert not taken.is_set() and len(lines) == 1 and "waiting for its end" in lines[0]
    waiting.join(timeout=10)
    assert taken.is_set() and store.list(FOLDER) == []


def test_of_many_commands_that_start_at_once_one_works_at_a_time(store):
    at_work, most, done = [0], [0], []

    def command() -> None:
        with held(store, "run", wait=True):
            at_work[0] += 1
            most[0] = max(most[0], at_work[0])
            time.sleep(0.02)
            at_work[0] -= 1
            done.append(1)

    threads = [threading.Thread(target=command) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert len(done) == 8 and most == [1] and store.list(FOLDER) == []


def test_a_killed_command_on_this_machine_blocks_no_other(store):
    holder = (
        "import sys, time; from pipeline.core.fleet import Fleet; from pipeline.core.store import Store\n"
        "from pipeline.core.lease import Lease\n"
        f"store = Store.of(Fleet(fleet='birds', tweets=['.'], storage={str(Path(store.root).parent)!r}))\n"
        "Lease(store, 'run').acquire(False, print); print('held', flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", holder], stdout=subprocess.PIPE, text=True)
    assert process.stdout and process.stdout.readline() == "held\n"
    with pytest.raises(UserError, match=f"process {process.pid}"):
        held(store, "gc").__enter__()
    process.kill()
    process.wait()
    with held(store, "run"):
        assert len(store.list(FOLDER)) == 1


def test_a_process_with_the_number_of_one_that_is_gone_is_another(store):
    from_elsewhere(store, 0, machine=leases._this_machine(), pid=os.getpid(), process_started=5.0)
    with held(store, "run"):
        pass


def test_a_command_keeps_its_lease_when_the_machines_clock_is_set(store):
    parent = psutil.Process(os.getppid())
    claim = {"pid": parent.pid, "process_started": parent.create_time() - 20}
    from_elsewhere(store, 0, machine=leases._this_machine(), **claim)
    with pytest.raises(UserError, match=f"process {parent.pid}"):
        held(store, "run").__enter__()


def test_a_command_on_another_machine_has_the_lease_while_it_renews_it(store):
    path = from_elsewhere(store, 1)
    renewing = threading.Timer(0.2, os.utime, (path,))
    renewing.start()
    lines: list[str] = []
    with pytest.raises(UserError, match="`run` of ada@far"):
        held(store, "run", say=lines.append).__enter__()
    assert "up to 60 s if it died" in lines[0] and path.exists()


def test_a_command_on_another_machine_that_stops_renewing_is_taken_over_from(store, monkeypatch):
    path = from_elsewhere(store, 61)
    with held(store, "run"):
        assert not path.exists()
    monkeypatch.setattr(leases, "END_SECONDS", 1.0)
    path = from_elsewhere(store, 0.5)
    with held(store, "run"):
        assert not path.exists()


@pytest.mark.parametrize("how", ["removed", "taken later"])
def test_a_command_that_was_taken_over_from_ends_with_the_reason(store, how):
    with held(store, "run") as lease:
        lease.check()
        if how == "removed":
            store.delete(FOLDER)
        else:
            from_elsewhere(store, 0, since=time.time() + 9)
        deadline = time.monotonic() + 5
        while not lease.lost and time.monotonic() < deadline:
            time.sleep(0.02)
        with pytest.raises(UserError, match="birds was taken over"):
            lease.check()


def test_an_outage_of_the_store_ends_no_lease(store, monkeypatch):
    with held(store, "run") as lease:
        calls = []

        def fail(name: str) -> bool:
            calls.append(name)
            raise OSError("the store is away")

        monkeypatch.setattr(Store, "exists", lambda self, name: fail(name))
        time.sleep(0.3)
        assert len(calls) > 1 and not lease.lost
        monkeypatch.undo()


def test_a_command_that_tries_at_the_same_moment_is_not_the_holder(store):
    path = from_elsewhere(store, 0, since=0)
    threading.Timer(0.2, path.unlink).start()
    with held(store, "run"):
        pass


def test_a_lease_that_was_not_taken_is_released_without_a_trace(store):
    lease = Lease(store, "run")
    lease.release()
    assert store.list(FOLDER) == []
