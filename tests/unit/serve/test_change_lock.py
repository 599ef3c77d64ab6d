"""The cluster's lock, over a key-value store in memory: one holder at a time, and none that is dead."""

import threading
import time

import pytest

from pipeline.core import ray_internals
from pipeline.core.errors import UserError
from serve.deployments import change_lock


@pytest.fixture
def store(monkeypatch):
    """The cluster's keys; every write takes place at once, as in Ray's control service."""
    held: dict[str, bytes] = {}
    lock = threading.Lock()

    def create(key: str, value: bytes) -> bool:
        with lock:
            return held.setdefault(key, value) is value

    monkeypatch.setattr(ray_internals, "kv_items", lambda prefix: dict(held))
    monkeypatch.setattr(ray_internals, "kv_put", held.__setitem__)
    monkeypatch.setattr(ray_internals, "kv_create", create)
    monkeypatch.setattr(ray_internals, "kv_delete", lambda key: held.pop(key, None))
    monkeypatch.setattr(ray_internals, "job_id", lambda: f"job of {threading.get_ident()}")
    monkeypatch.setattr(ray_internals, "job_is_running", lambda job: job != "a job that was killed")
    monkeypatch.setattr(change_lock, "_POLL_SECONDS", 0.002)
    return held


def test_one_is_inside_at_a_time(store):
    inside, most, done = 0, 0, 0

    def enter() -> None:
        nonlocal inside, most, done
        for _ in range(5):
            with change_lock.change_lock(60):
                inside += 1
                most = max(most, inside)
                time.sleep(0.002)
                inside -= 1
                done += 1

    threads = [threading.Thread(target=enter) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (most, done) == (1, 30) and len(store) == 1


def test_the_lock_of_a_killed_command_is_taken_over_and_that_of_a_living_one_is_waited_for(store):
    store["huggingtweets:change:7"] = b"a job that was killed"
    with change_lock.change_lock(1):
        assert list(store) == ["huggingtweets:change:8"]
        with pytest.raises(UserError, match="another command"), change_lock.change_lock(0.05):
            pass
    with change_lock.change_lock(1):
        pass
