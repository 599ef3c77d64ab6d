"""Syncing with the real client against a W&B on loopback that works, is slow, fails or is gone."""

import json

import pytest

from pipeline.core.errors import UserError
from pipeline.core.progress import Progress
from pipeline.core.store import Store
from pipeline.track import stored_runs
from pipeline.track import sync as syncing
from tests.support import published

BOTS = ("owl-wren", "wren")
DATA = {f"tweets.{handle}.{published.digest(handle)[:12]}" for handle in ("owl", "wren")}
TRAINED = {f"{bot}-0123456789ab" for bot in BOTS}


@pytest.fixture
def fleet(tmp_path):
    return published.fleet_of(tmp_path, BOTS)


def sync(fleet):
    with Progress() as progress:
        return syncing.sync(fleet, progress)


def test_what_is_published_is_written_and_sent_with_its_lineage_once(server, fleet):
    assert sync(fleet) == {"synced": 5, "waiting": 0, "problems": []}
    assert not server.unknown
    assert {run for run in server.runs if not run.startswith("fleet.")} == DATA | TRAINED
    assert {run["groupName"] for run in server.runs.values()} == {"birds"}
    uses = set(server.uses)
    assert {(f"wren-{'0123456789ab'}", "wren-train"), ("wren-0123456789ab", "mini")} <= uses
    assert {("owl-wren-0123456789ab", f"{handle}-train") for handle in ("owl", "wren")} <= uses
    assert ("wren-0123456789ab", "wren-model") in server.makes
    names = [name for name, _ in server.artifacts]
    assert sorted(names) == ["mini", "owl-raw", "owl-train", "owl-wren-model", "wren-model", "wren-raw", "wren-train"]
    order = list(server.runs)
    assert max(order.index(run) for run in DATA) < min(order.index(run) for run in TRAINED)  # producers first
    assert order[-1].startswith("fleet.")
    assert len([row for row in server.history["wren-0123456789ab"] if "train/loss" in row]) == 40
    calls = len(server.operations)
    assert sync(fleet) == {"synced": 0, "waiting": 0, "problems": []}
    assert len(server.operations) == calls


def test_a_failing_wandb_is_reported_at_once_and_later_gets_everything(server, fleet, huggingtweets, tmp_path):
    server.failing = True
    result = sync(fleet)
    assert (result["synced"], result["waiting"]) == (0, 5) and "503" in result["problems"][0]
    code, out, err = huggingtweets("sync", tmp_path / "birds.yaml", "--json")
    assert code == 1 and json.loads(out)["waiting"] == 5 and "5 wait" in err
    server.failing, server.delay = False, 0.1
    code, out, _ = huggingtweets("sync", tmp_path / "birds.yaml", "--json")
    assert code == 0 and json.loads(out)["synced"] == 5


def test_runs_that_wandb_did_not_get_in_an_outage_are_sent_later(server, fleet, monkeypatch):
    monkeypatch.setattr(syncing, "_START_SECONDS", 15)
    monkeypatch.setattr(syncing, "_RUN_SECONDS", 0)
    monkeypatch.setattr(syncing, "_BATCH", 1)
    server.calls_left = 22  # the first run takes some sixteen
    result = sync(fleet)
    assert 0 < result["synced"] < 5 and result["synced"] + result["waiting"] == 5
    assert result["problems"]
    server.calls_left = None
    monkeypatch.setattr(syncing, "_START_SECONDS", 60)
    monkeypatch.setattr(syncing, "_BATCH", 20)
    assert sync(fleet) == {"synced": result["waiting"], "waiting": 0, "problems": []}
    assert set(server.runs) >= DATA | TRAINED


def test_without_a_server_nothing_waits_long(fleet, monkeypatch):
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    result = sync(fleet)
    assert result["waiting"] == 5 and "does not answer" in result["problems"][0]
    assert len(stored_runs.runs(Store.of(fleet))) == 5


def test_a_key_is_needed(fleet):
    with pytest.raises(UserError, match="WANDB_API_KEY"):
        sync(fleet)


def test_auto_is_online_with_a_key(monkeypatch):
    assert syncing.resolve_mode("auto") == "offline"
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    assert syncing.resolve_mode("auto") == "online"
    assert syncing.resolve_mode("disabled") == "disabled"


def test_a_large_fleet_is_one_table_and_a_few_runs(server, tmp_path):
    fleet = published.fleet_of(tmp_path, ("owl", "stork", "wren"), wandb={"mode": "online", "max_runs": 1})
    assert sync(fleet)["synced"] == 3  # a data set, a bot, the fleet
    [row] = [run for run in server.runs if run.startswith("fleet.")]
    assert len(server.runs) == 3 and row


def test_runs_in_an_object_store_are_sent_and_marked_there(server, s3, tmp_path):
    fleet = published.fleet_of(tmp_path, ("wren",), storage="s3://fleets/tracked")
    assert sync(fleet)["synced"] == 3
    store = Store.of(fleet)
    assert stored_runs.synced(store) == set(stored_runs.runs(store))
    assert sync(fleet)["synced"] == 0
    files = [name for name in server.files.values() if b"My dream is rain" in name]
    assert files  # the table of samples came along
