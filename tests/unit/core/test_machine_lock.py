"""One process at a time: who waits, who gives up, and that a killed holder leaves nothing behind."""

import subprocess
import sys
import tempfile
import threading
import time

import pytest

from pipeline.core.errors import UserError
from pipeline.core.machine_lock import machine_lock

HOLD = """
import sys, time
from pipeline.core.machine_lock import machine_lock
with machine_lock("tests", 5, print):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)


def test_a_second_process_waits_and_a_killed_one_holds_nothing():
    holder = subprocess.Popen([sys.executable, "-c", HOLD], stdout=subprocess.PIPE)
    assert holder.stdout
    try:
        assert holder.stdout.readline() == b"held\n"
        lines: list[str] = []
        with pytest.raises(UserError, match="another `tests`"), machine_lock("tests", 0.5, lines.append):
            pass
        assert lines == ["another `tests` is under way on this machine; waiting for its end"]
    finally:
        holder.kill()
        holder.wait()
    with machine_lock("tests", 5, lines.append):
        pass


def test_only_one_is_inside_at_a_time():
    inside, most = 0, 0

    def enter() -> None:
        nonlocal inside, most
        with machine_lock("tests", 30, lambda line: None):
            inside += 1
            most = max(most, inside)
            time.sleep(0.05)
            inside -= 1

    threads = [threading.Thread(target=enter) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1


def test_a_link_that_somebody_else_has_laid_is_not_followed(tmp_path):
    import os

    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / f"huggingtweets-tests-{os.getuid()}.lock").symlink_to(victim)
    with pytest.raises(OSError, match="symbolic"), machine_lock("tests", 1, lambda line: None):
        pass
    assert victim.read_text() == "precious"
