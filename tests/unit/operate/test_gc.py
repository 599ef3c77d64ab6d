"""Old versions are deleted; those that are in use, served or just being written stay."""

import json
import os
import time

import pytest
from pyarrow import fs

from pipeline.core.fleet import load
from pipeline.core.store import Store
from pipeline.operate import gc as operate_gc
from pipeline.operate.gc import Unused, gc

A, B, C = "a" * 12, "b" * 12, "c" * 12
HOUR = 3600.0


@pytest.fixture
def fleet(tmp_path):
    path = tmp_path / "birds.yaml"
    path.write_text("fleet: birds\ntweets: none.csv\nserve: {port: 1}\n")
    return load(path)


@pytest.fixture
def store(fleet):
    store = Store.of(fleet)
    for version in (A, B, C):
        store.write_folder(f"bots/wren/{version}", {"model.safetensors": b"w" * 10, "config.json": b"{}"})
    store.write("bots/wren/current", C.encode())
    store.write("bots/wren/hub.json", b"{}")
    return store


def age(store, seconds=7200):
    then = time.time() - seconds
    for info in store.filesystem.get_file_info(fs.FileSelector(store.root, recursive=True)):
        os.utime(info.path, (then, then))


def test_versions_that_are_not_in_use_are_deleted(fleet, store):
    age(store)
    assert gc(fleet, HOUR).removed == [Unused(f"bots/wren/{version}", 12) for version in (A, B)]
    assert store.list("bots/wren") == [C, "current", "hub.json"]
    assert gc(fleet, HOUR).removed == []


def test_a_version_that_is_still_served_stays(fleet, store, monkeypatch):
    age(store)
    monkeypatch.setattr(operate_gc, "served", lambda fleet: {"wren": A})
    assert [unused.path for unused in gc(fleet, HOUR).removed] == [f"bots/wren/{B}"]


def test_what_was_just_written_stays_and_the_command_says_so(fleet, store, tmp_path, huggingtweets):
    result = gc(fleet, HOUR)
    assert result.removed == [] and [unused.path for unused in result.kept_by_grace] == [
        f"bots/wren/{A}",
        f"bots/wren/{B}",
    ]
    code, out, err = huggingtweets("gc", tmp_path / "birds.yaml", "--json")
    assert code == 0 and json.loads(out) == []
    assert "removed 0 things" in err and "2 more, 24 bytes, changed within the last 60 minutes; `--grace 0`" in err
    code, out, err = huggingtweets("gc", tmp_path / "birds.yaml", "--grace", "0", "--json")
    assert json.loads(out) == [{"path": f"bots/wren/{version}", "bytes": 12} for version in (A, B)]
    assert "grace" not in err


def test_a_bot_that_was_never_published_is_left_alone(fleet, store):
    store.write_folder(f"bots/owl/{A}", {"config.json": b"{}"})
    age(store)
    gc(fleet, HOUR)
    assert store.list("bots/owl") == [A]


def test_drafts_of_killed_writers_are_deleted(fleet, store):
    draft = f"bots/.current.{'0' * 32}"
    store.write(draft, b"half")
    store.write_folder(f"bots/wren/.{A}.{'1' * 32}", {"config.json": b"{"})
    assert gc(fleet, HOUR).removed == []
    age(store)
    paths = {unused.path for unused in gc(fleet, HOUR).removed}
    assert {draft, f"bots/wren/.{A}.{'1' * 32}"} <= paths


def test_the_command_says_what_went(fleet, store, tmp_path, huggingtweets):
    age(store)
    code, _, err = huggingtweets("gc", tmp_path / "birds.yaml")
    assert code == 0
    assert "removed 2 things, 24 bytes" in err
