"""Newly published versions are found, on a disk and in a real S3 server; broken files of one bot affect no other."""

import json
import time
from pathlib import Path

import pytest

from pipeline.core.fleet import Fleet
from pipeline.core.picture import profile_file
from pipeline.core.store import Store
from serve.deployments.published import Watcher, picture, read_entries
from tests.support.fake_bots import FACE
from tests.support.s3 import BUCKET

OLD, NEW = "0" * 12, "1" * 12
SETTINGS = {"endpoint": "pooled", "deadline_seconds": 60, "max_queued_requests": 64, "max_replicas": 4}


@pytest.fixture(params=["disk", "s3"])
def store(request, s3, tmp_path) -> Store:
    storage = str(tmp_path) if request.param == "disk" else f"s3://{BUCKET}/{tmp_path.name}"
    return Store.of(Fleet(fleet="birds", tweets=["x.csv"], storage=storage))


def publish(store: Store, bot: str, version: str) -> None:
    store.write(f"bots/{bot}/{version}/metrics.json", b"{}")
    store.write(f"bots/{bot}/current", version.encode())


def report(store: Store, status: str, **versions: str) -> None:
    time.sleep(0 if store.local else 1.1)  # an object store's times are in seconds
    rows = [{"bot": bot, "version": version, "status": status} for bot, version in versions.items()]
    store.write("report.json", json.dumps({"bots": rows}).encode())


def test_new_bots_and_new_versions_are_found_once(store):
    watcher = Watcher(store)
    assert watcher.changes(None) == {}
    publish(store, "wren", OLD)
    assert watcher.changes(None) == {"wren": OLD}  # while its run continues
    publish(store, "stork", OLD)
    report(store, "trained", wren=OLD, stork=OLD)
    assert watcher.changes(None)["stork"] == OLD
    assert watcher.changes(None) == {}
    publish(store, "wren", NEW)
    report(store, "trained", wren=NEW, stork=OLD)
    assert watcher.changes(["stork"]) == {}
    assert watcher.changes(None) == {"wren": NEW}
    assert watcher.changes(["stork"]) == watcher.changes(None) == {}
    watcher.forget(["wren"])
    assert watcher.changes(None) == {"wren": NEW}


def test_a_version_that_failed_at_first_is_found_when_it_is_there(store):
    watcher = Watcher(store)
    publish(store, "wren", OLD)
    report(store, "failed", wren=NEW)
    assert watcher.changes(None) == {"wren": OLD}
    publish(store, "wren", NEW)
    report(store, "trained", wren=NEW)
    assert watcher.changes(None) == {"wren": NEW}


def test_an_object_store_is_asked_little_while_nothing_changes(s3, tmp_path):
    store = Store.of(Fleet(fleet="many", tweets=["x.csv"], storage=f"s3://{BUCKET}/{tmp_path.name}"))
    for i in range(20):
        publish(store, f"bot_{i}", OLD)
    report(store, "trained", **{f"bot_{i}": OLD for i in range(20)})
    watcher = Watcher(store)
    assert len(watcher.changes(None)) == 20 and watcher.changes(None) == {}
    asked = s3.asked
    assert watcher.changes(None) == {} and s3.asked - asked < 5


def test_an_object_store_is_looked_at_more_rarely_than_a_disk(store):
    watcher = Watcher(store)
    assert watcher.due()
    assert watcher.due() == store.local


@pytest.mark.parametrize("broken", [b"../nasa/" + NEW.encode(), b"\xff\xfe\x00", b"", b"0" * 13, b"latest"])
def test_what_is_no_version_is_not_followed_and_found_once_it_is_repaired(store, broken):
    watcher = Watcher(store)
    publish(store, "stork", OLD)
    store.write("bots/wren/current", broken)
    assert watcher.changes(None) == {"stork": OLD} and watcher.changes(None) == {}
    assert store.current_version("wren") is None
    publish(store, "wren", NEW)
    report(store, "trained", wren=NEW)
    assert watcher.changes(None)["wren"] == NEW


def test_a_report_of_another_form_stops_nothing(store):
    watcher = Watcher(store)
    publish(store, "wren", OLD)
    for content in (b"[]", b'{"bots": 3}', b'{"bots": [1, {"bot": ["wren"]}, {"bot": "stork"}]}', b"\xff"):
        store.write("report.json", content)
        assert set(watcher.changes(None)) <= {"wren"}
    assert Watcher(store).changes(None) == {"wren": OLD}


@pytest.mark.parametrize("content", [b"[]", b"3", b"{", b"\xff", b'{"tweets": [], "names": 3, "pictures": {}}'])
@pytest.mark.parametrize("name", ["stats.json", "profiles.json", "metrics.json"])
def test_a_bot_with_broken_files_is_served_without_what_they_say_and_others_with_theirs(store, name, content):
    for bot in ("wren", "stork"):
        publish(store, bot, OLD)
        store.write(f"bots/{bot}/{OLD}/stats.json", json.dumps({"tweets": {bot: {"kept": 7}}}).encode())
    store.write(f"bots/wren/{OLD}/{name}", content)
    entries = read_entries(store, {bot: {"version": OLD, "settings": SETTINGS} for bot in ("wren", "stork")})
    assert entries["stork"]["counts"] == {"stork": {"kept": 7}} and entries["stork"]["complete"]
    assert entries["wren"]["version"] == OLD and entries["wren"]["complete"] == content.startswith(b'{"')
    for field, kind in (("counts", dict), ("names", dict), ("pictures", list), ("metrics", dict)):
        assert isinstance(entries["wren"][field], kind)


def test_a_file_in_a_pictures_place_that_is_no_picture_is_not_shown(tmp_path):
    store = Store.of(Fleet(fleet="many", tweets=["x.csv"], storage=str(tmp_path)))
    secret = tmp_path / "secret.txt"
    secret.write_text("a key of somebody")
    place = Path(store.path(f"bots/wren/{OLD}/{profile_file('wren')}"))
    place.parent.mkdir(parents=True)
    place.symlink_to(secret)
    picture.cache_clear()
    assert picture("many", str(tmp_path), "wren", OLD, "wren") is None
    place.unlink()
    place.write_bytes(FACE)
    picture.cache_clear()
    assert picture("many", str(tmp_path), "wren", OLD, "wren") == FACE
