"""The store on a real S3 server on loopback, also while it fails."""

import json
import threading
import time
from dataclasses import asdict

import pytest

from pipeline.core import lease as leases
from pipeline.core import manifest
from pipeline.core.errors import UserError
from pipeline.core.fleet import Fleet
from pipeline.core.lease import FOLDER, held
from pipeline.core.manifest import FOLDER as MANIFEST
from pipeline.core.manifest import Writer, known_files, published, unused_versions
from pipeline.core.store import Store
from tests.support.s3 import BUCKET

FILES = {"config.json": b"{}", "model.safetensors": b"w" * 3_000_000}


@pytest.fixture
def store(s3, tmp_path) -> Store:
    return Store.of(Fleet(fleet=tmp_path.name[-40:].lower(), tweets=["x.csv"], storage=f"s3://{BUCKET}/all"))


def test_files_and_folders_come_back_as_they_were_written(store, tmp_path):
    store.write("report.json", b"one")
    store.write("report.json", b"two")
    store.write_folder("bots/wren/v1", FILES)
    assert store.read("report.json") == b"two"
    assert store.list("bots/wren") == ["v1"]
    assert {path.name: path.read_bytes() for path in store.fetch("bots/wren/v1", tmp_path / "c").iterdir()} == FILES
    store.delete("bots/wren")
    assert not store.exists("bots/wren/v1/config.json")
    assert store.list("bots/wren") == []
    with pytest.raises(FileNotFoundError):
        store.read("bots/wren/v1/config.json")


def test_a_server_that_fails_every_fifth_time_loses_nothing(store, s3):
    s3.failures, failed = 0.2, s3.failed
    try:
        for i in range(4):
            store.write_folder(f"bots/wren/v{i}", {"config.json": f"{i}".encode()})
        assert store.list("bots/wren") == sorted(f"v{i}" for i in range(4))
        assert [store.read(f"bots/wren/v{i}/config.json") for i in range(4)] == [f"{i}".encode() for i in range(4)]
        store.delete("bots/wren/v0")
        assert not store.exists("bots/wren/v0/config.json")
    finally:
        s3.failures = 0.0
    assert s3.failed > failed


def test_a_server_that_is_gone_for_a_while_is_waited_for(store, s3):
    s3.gone = True
    threading.Timer(3, setattr, (s3, "gone", False)).start()
    store.write("report.json", b"late")
    assert store.read("report.json") == b"late"
    assert not s3.gone


def test_published_bots_are_read_from_a_few_objects_and_a_version_that_was_changed_by_hand_is_seen(
    store, s3, monkeypatch
):
    old, new, bots = "0" * 12, "1" * 12, [f"bot_{i}" for i in range(5)]
    writer = Writer(store)
    for bot in bots:
        store.write(f"bots/{bot}/{old}/metrics.json", b"{}")
        store.write(f"bots/{bot}/current", old.encode())
        writer.add(bot, old, {"metrics.json": {"of": bot}})
        writer.close()  # which makes one object of two
    versions, asked = published(store), s3.asked
    monkeypatch.setattr(manifest, "FEW", 4)
    assert known_files(store, versions, ["metrics.json"]) == {bot: {"metrics.json": {"of": bot}} for bot in bots}
    assert s3.asked - asked < 10 and len(store.list(MANIFEST)) == 1
    monkeypatch.undo()
    store.write("bots/bot_3/current", new.encode())
    assert published(store) == dict.fromkeys(bots, old) | {"bot_3": new} and unused_versions(store) == {"bot_3": [old]}
    store.delete("bots/bot_3")
    assert published(store) == {bot: old for bot in bots if bot != "bot_3"}


def test_a_bucket_that_is_not_there_is_named_at_once(s3):
    store = Store.of(Fleet(fleet="birds", tweets=["x.csv"], storage="s3://nobodys-bucket/all"))
    asked = s3.asked
    with pytest.raises(UserError, match="nobodys-bucket"):
        store.check_writable()
    assert s3.asked - asked < 5


def test_of_many_commands_on_a_bucket_one_works_at_a_time_and_a_dead_one_is_taken_over_from(store, s3, monkeypatch):
    monkeypatch.setattr(leases, "RENEWAL_SECONDS", 0.1)
    monkeypatch.setattr(leases, "_PAUSE_SECONDS", (0.0, 0.3))
    monkeypatch.setattr(leases, "END_SECONDS", 8.0)
    dead = leases.Claim("run", "ada@far", "another machine", 1, 1.0, since=time.time())
    store.write(f"{FOLDER}/dead.json", json.dumps(asdict(dead)).encode())
    at_work, most, done = [0], [0], []

    def command() -> None:
        with held(store, "run", wait=True) as lease:
            at_work[0] += 1
            most[0] = max(most[0], at_work[0])
            time.sleep(0.2)
            at_work[0] -= 1
            lease.check()
            done.append(1)

    threads = [threading.Thread(target=command) for _ in range(3)]
    s3.failures = 0.03
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=60)
    finally:
        s3.failures = 0.0
    assert len(done) == 3 and most == [1]
    end = time.monotonic() + 20
    while store.list(FOLDER) and time.monotonic() < end:  # a renewal that was under way takes its claim back at its end
        time.sleep(0.1)
    assert store.list(FOLDER) == []
