"""The manifest of published bots: few requests for many bots, and never a version that is not in use."""

import io
import json
import random

import pyarrow.parquet as pq
import pytest
from pyarrow import fs

from pipeline.core import manifest
from pipeline.core.manifest import FOLDER, FORM, Writer, files, known_files, published, unused_versions
from pipeline.core.store import Store
from pipeline.operate.gc import gc
from pipeline.operate.status import status
from pipeline.plan.bot import Bot
from pipeline.plan.bots import update_status
from pipeline.report.progress_record import FILE as PROGRESS
from tests.support.remote_store import Requests, remote_store

OLD, NEW, NEXT = "0" * 12, "1" * 12, "2" * 12


def publish(store: Store, bot: str, version: str, loss: float = 3.5) -> dict:
    """Writes what a published bot's folder needs here; returns its metrics."""
    metrics = {"held_out": {"loss": loss}}
    store.write(f"bots/{bot}/{version}/metrics.json", json.dumps(metrics).encode())
    store.write(f"bots/{bot}/current", version.encode())
    return metrics


def names(number: int) -> list[str]:
    return [f"bot_{i}" for i in range(number)]


def command(store: Store, bots: list[str], version: str) -> None:
    """What a run does that publishes this version of the bots."""
    manifest.withdraw_if_outdated(store)
    store.write(PROGRESS, json.dumps({"manifest": FORM}).encode())
    writer = Writer(store)
    writer.adopt({bot: (old, {}) for bot, old in published(store).items()})
    writer.withdraw(bots)
    for bot in bots:
        writer.add(bot, version, {"metrics.json": publish(store, bot, version)})
    writer.close()


@pytest.fixture
def many(tmp_path) -> tuple[Store, Requests]:
    """600 bots that a command has published in the version OLD, more than are asked for one by one."""
    random.seed(0)
    store, requests = remote_store(tmp_path)
    command(store, names(600), OLD)
    requests.number, requests.read = 0, []
    return store, requests


def test_many_bots_take_hardly_more_requests_than_few(many):
    store, requests = many
    plan = [Bot(bot, [], OLD) for bot in names(600)]
    used = {}
    for number in (600, 1300):
        command(store, names(number), OLD)
        for name, ask in {
            "published": lambda: published(store),
            "run": lambda: update_status(store, plan, published(store)),
            "unused": lambda: unused_versions(store),
            "files": lambda: files(store, dict.fromkeys(names(600), OLD), "metrics.json"),
        }.items():
            requests.number = 0
            ask()
            used.setdefault(name, []).append(requests.number)
    assert all(many - few <= 4 for few, many in used.values())  # pages of the listing
    assert all(many <= 2 * 256 + 30 for _, many in used.values())
    assert {(bot.status, bot.metrics["held_out"]["loss"]) for bot in plan} == {("unchanged", 3.5)}


def test_few_bots_are_compared_one_by_one_at_every_reading(tmp_path):
    store, _ = remote_store(tmp_path)
    command(store, names(200), OLD)
    publish(store, "bot_7", NEW)  # by hand
    assert published(store) == dict.fromkeys(names(200), OLD) | {"bot_7": NEW}


def test_the_rows_are_read_from_one_small_object(many):
    store, requests = many
    assert len(store.list(FOLDER)) == 1
    assert files(store, published(store), "metrics.json")["bot_9"] == {"held_out": {"loss": 3.5}}
    assert not [path for path in requests.read if path.endswith("metrics.json")]


def test_metrics_that_are_no_numbers_are_read_as_they_were_written(many):
    store, _ = many
    writer = Writer(store)
    writer.add("bot_7", OLD, {"metrics.json": {"loss": float("nan"), "perplexity": float("inf")}})
    writer.close()
    found = files(store, published(store), "metrics.json")
    assert repr(found["bot_7"]) == "{'loss': nan, 'perplexity': inf}"
    assert found["bot_8"] == {"held_out": {"loss": 3.5}}


def test_bots_of_an_earlier_release_are_read_from_their_folders_and_adopted_by_the_next_command(tmp_path):
    store, requests = remote_store(tmp_path)
    for bot in names(300):
        publish(store, bot, OLD)
    assert published(store) == dict.fromkeys(names(300), OLD)
    command(store, ["another"], OLD)
    requests.number = 0
    assert published(store) == dict.fromkeys([*names(300), "another"], OLD)
    assert requests.number < 2 * 257 + 20


def test_a_lost_or_damaged_manifest_says_nothing(many):
    store, _ = many
    publish(store, "bot_7", NEW)
    [name] = store.list(FOLDER)
    for damage in (b"", b"PAR1", store.read(f"{FOLDER}/{name}")[:-20]):
        store.write(f"{FOLDER}/{name}", damage)
        assert published(store)["bot_7"] == NEW and len(published(store)) == 600
    store.delete(FOLDER)
    assert published(store)["bot_7"] == NEW


def test_a_killed_command_leaves_no_row_of_a_bot_that_it_may_have_published(many):
    store, _ = many
    writer = Writer(store)
    writer.withdraw(["bot_7", "bot_8"])
    publish(store, "bot_7", NEW, loss=2.0)  # killed here
    assert published(store)["bot_7"] == NEW and published(store)["bot_8"] == OLD
    assert files(store, {"bot_7": NEW}, "metrics.json")["bot_7"] == {"held_out": {"loss": 2.0}}
    assert unused_versions(store) == {"bot_7": [OLD]}
    command(store, ["bot_9"], NEW)
    known = known_files(store, published(store), ["metrics.json"])
    assert known["bot_9"] and known["bot_7"]["metrics.json"] == {}  # as `command` adopts it
    assert (rows(store)["bot_7"]["version"], rows(store)["bot_8"]["version"]) == (NEW, OLD)


def rows(store: Store) -> dict[str, dict]:
    [name] = store.list(FOLDER)
    return {row["bot"]: row for row in pq.read_table(io.BytesIO(store.read(f"{FOLDER}/{name}"))).to_pylist()}


def test_while_a_command_works_what_it_has_published_is_read_from_their_folders(many):
    store, _ = many
    writer = Writer(store)
    writer.withdraw(["bot_7"])
    assert published(store)["bot_7"] == OLD
    publish(store, "bot_7", NEW)
    assert published(store)["bot_7"] == NEW
    writer.add("bot_7", NEW, {})
    assert published(store)["bot_7"] == NEW  # before the row is written
    writer.close()
    assert published(store)["bot_7"] == NEW and unused_versions(store) == {"bot_7": [OLD]}


def test_after_a_command_of_an_earlier_release_no_row_counts(many):
    store, _ = many
    publish(store, "bot_7", NEW)
    store.write(PROGRESS, b'{"fleet": "birds", "ended": true}')
    assert published(store)["bot_7"] == NEW
    manifest.withdraw_if_outdated(store)
    store.write(PROGRESS, json.dumps({"manifest": FORM}).encode())  # the command that did this was killed at once
    assert published(store)["bot_7"] == NEW


def test_bot_folders_that_were_copied_or_deleted_by_hand(many):
    store, _ = many
    publish(store, "copied", NEW)
    store.delete("bots/bot_7")
    assert published(store) == {bot: OLD for bot in names(600) if bot != "bot_7"} | {"copied": NEW}


def test_where_many_files_were_changed_by_hand_no_row_counts(many):
    store, _ = many
    for bot in names(60):
        publish(store, bot, NEW)
    assert published(store)["bot_3"] == NEW and published(store)["bot_599"] == OLD


def test_a_command_that_lost_its_lease_writes_no_row(many):
    store, _ = many

    def lost() -> None:
        raise PermissionError("taken over")

    with pytest.raises(PermissionError):
        Writer(store, lost).withdraw(["bot_7"])
    assert rows(store)["bot_7"]["version"] == OLD


def test_a_store_that_fails_stops_no_command_and_the_rows_stay_withdrawn(many, monkeypatch):
    store, _ = many
    writer = Writer(store)
    writer.withdraw(["bot_7"])

    def fail(self, name, data, secret=False):
        raise OSError("gone")

    with monkeypatch.context() as patch:
        patch.setattr(Store, "write", fail)
        writer.add("bot_7", NEW, {})
        writer.close()
        with pytest.raises(OSError, match="gone"):
            writer.withdraw(["bot_8"])
    publish(store, "bot_7", NEW)
    assert published(store)["bot_7"] == NEW


def test_files_that_are_made_one_while_they_are_read_are_read_again(many, monkeypatch):
    store, _ = many
    read, [name] = Store.read, store.list(FOLDER)

    def read_late(self, path):
        if path == f"{FOLDER}/{name}":
            monkeypatch.setattr(Store, "read", read)
            command(store, ["bot_7"], NEW)
        return read(self, path)

    monkeypatch.setattr(Store, "read", read_late)
    assert known_files(store, published(store), ["metrics.json"])["bot_7"]


def test_gc_removes_what_the_manifest_names_only_if_it_is_not_in_use(many, tmp_path, monkeypatch):
    store, requests = many
    command(store, ["bot_7", "bot_8"], NEW)
    store.write("bots/bot_8/current", OLD.encode())  # by hand
    monkeypatch.setattr("pipeline.operate.gc.Store.of", lambda fleet: store)
    monkeypatch.setattr("pipeline.operate.gc.served", lambda fleet: {})
    removed = [unused.path for unused in gc(None, grace=-1.0).removed]
    assert removed == [f"bots/bot_7/{OLD}", f"bots/bot_8/{NEW}"]
    requests.number = 0
    assert gc(None, grace=-1.0).removed == [] and requests.number < 2 * 256 + 40


def test_status_shows_the_version_in_use(many, monkeypatch):
    store, requests = many
    bots = [{"bot": bot, "version": OLD, "metrics": {}} for bot in names(600)]
    store.write("report.json", json.dumps({"bots": bots}).encode())
    command(store, ["bot_7"], NEW)
    monkeypatch.setattr("pipeline.operate.status.Store.of", lambda fleet: store)
    monkeypatch.setattr("pipeline.operate.status._listed", lambda fleet: {})
    requests.number = 0
    report, _ = status(None)
    current = {row["bot"]: row["current"] for row in report["bots"]}
    assert current == dict.fromkeys(names(600), OLD) | {"bot_7": NEW}
    assert requests.number < 2 * 256 + 40


def test_a_disk_has_no_manifest(tmp_path):
    store = Store(fs.LocalFileSystem(), str(tmp_path / "birds"))
    command(store, ["wren"], OLD)
    assert published(store) == {"wren": OLD} and not store.exists(FOLDER)
    publish(store, "wren", NEW)
    assert published(store) == {"wren": NEW} and unused_versions(store) == {"wren": [OLD]}
