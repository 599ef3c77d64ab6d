"""What is newly published is found, on a disk and in a real S3 server, without reading what has not changed."""

import json
import time

import pytest

from pipeline.core.fleet import Fleet
from pipeline.core.store import Store
from serve.deployments.bot_records import published
from tests.support.s3 import BUCKET

OLD, NEW = "0" * 12, "1" * 12


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
    seen: dict = {}
    assert published(store, seen, None) == {}
    publish(store, "wren", OLD)
    assert published(store, seen, None) == {"wren": OLD}  # its run goes on
    publish(store, "stork", OLD)
    report(store, "trained", wren=OLD, stork=OLD)
    assert published(store, seen, None)["stork"] == OLD
    assert published(store, seen, None) == {}
    publish(store, "wren", NEW)
    report(store, "trained", wren=NEW, stork=OLD)
    assert published(store, seen, None) == {"wren": NEW}
    assert published(store, seen, ["stork"]) == published(store, seen, None) == {}


def test_a_version_that_failed_at_first_is_found_when_it_is_there(store):
    seen: dict = {}
    publish(store, "wren", OLD)
    report(store, "failed", wren=NEW)
    assert published(store, seen, None) == {"wren": OLD}
    publish(store, "wren", NEW)
    report(store, "trained", wren=NEW)
    assert published(store, seen, None) == {"wren": NEW}


def test_an_object_store_is_asked_little_while_nothing_changes(s3, tmp_path):
    store = Store.of(Fleet(fleet="many", tweets=["x.csv"], storage=f"s3://{BUCKET}/{tmp_path.name}"))
    for i in range(20):
        publish(store, f"bot_{i}", OLD)
    report(store, "trained", **{f"bot_{i}": OLD for i in range(20)})
    seen: dict = {}
    assert len(published(store, seen, None)) == 20 and published(store, seen, None) == {}
    asked = s3.asked
    assert published(store, seen, None) == {} and s3.asked - asked < 5
