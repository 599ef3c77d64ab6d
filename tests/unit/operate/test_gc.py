"""Old versions go; what is in use, served, or just being written stays."""

import os
import time

import pytest
from pyarrow import fs

from pipeline.core.fleet import load
from pipeline.core.store import Store
from pipeline.operate import gc as collecting

A, B, C = "a" * 12, "b" * 12, "c" * 12


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


def test_versions_that_are_not_in_use_go(fleet, store):
    age(store)
    assert collecting.gc(fleet) == [{"path": f"bots/wren/{version}", "bytes": 12} for version in (A, B)]
    assert store.list("bots/wren") == [C, "current", "hub.json"]
    assert collecting.gc(fleet) == []


def test_a_version_that_is_still_served_stays(fleet, store, monkeypatch):
    age(store)
    monkeypatch.setattr(collecting, "served", lambda fleet: {"wren": A})
    assert [one["path"] for one in collecting.gc(fleet)] == [f"bots/wren/{B}"]


def test_what_was_just_written_stays(fleet, store):
    assert collecting.gc(fleet) == []


def test_a_bot_that_was_never_published_is_left_alone(fleet, store):
    store.write_folder(f"bots/owl/{A}", {"config.json": b"{}"})
    age(store)
    collecting.gc(fleet)
    assert store.list("bots/owl") == [A]


def test_drafts_of_killed_writers_go(fleet, store):
    draft = f"bots/.current.{'0' * 32}"
    store.write(draft, b"half")
    store.write_folder(f"bots/wren/.{A}.{'1' * 32}", {"config.json": b"{"})
    assert collecting.gc(fleet) == []
    age(store)
    paths = {one["path"] for one in collecting.gc(fleet)}
    assert {draft, f"bots/wren/.{A}.{'1' * 32}"} <= paths


def test_the_command_says_what_went(fleet, store, tmp_path, huggingtweets):
    age(store)
    code, _, err = huggingtweets("gc", tmp_path / "birds.yaml")
    assert code == 0
    assert "removed 2 things, 24 bytes" in err
