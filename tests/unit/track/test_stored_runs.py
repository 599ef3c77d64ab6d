"""W&B's own files, written by W&B and read back: lineage, config, history, tables; and what a crash leaves."""

import json
from pathlib import Path

import pytest

from pipeline.core.store import Store
from pipeline.track import stored_runs
from pipeline.track.stored_runs import StoredRuns
from pipeline.track.wandb_internals import read_records
from tests.support import published

VERSION = "0123456789ab"


@pytest.fixture
def fleet(tmp_path):
    return published.fleet_of(tmp_path, ("owl-wren", "wren"))


def read_back(store: Store, run_id: str) -> dict:
    """A run's file as W&B's server would see it."""
    [folder] = [name for name in stored_runs.runs(store) if stored_runs.id_of(name) == run_id]
    found: dict = {"config": {}, "history": [], "summary": {}, "uses": {}, "makes": {}}
    found["folder"] = Path(store.path(f"wandb/{folder}"))
    for record in read_records(found["folder"] / f"run-{run_id}.wandb"):
        found["config"] |= {item.key: json.loads(item.value_json) for item in record.run.config.update}
        if record.HasField("run"):
            found["run"] = record.run
        if record.HasField("history"):
            found["history"].append(values(record.history.item))
        found["summary"] |= values(record.summary.update)
        if record.HasField("artifact"):
            side = "uses" if record.artifact.use_after_commit else "makes"
            found[side][record.artifact.name] = record.artifact
    return found


def values(items) -> dict:
    """A record's items; what is nested (a table's place) comes as one item for each leaf."""
    found: dict = {}
    for item in items:
        *outer, key = item.nested_key or [item.key]
        inner = found
        for name in outer:
            inner = inner.setdefault(name, {})
        inner[key] = json.loads(item.value_json)
    return found


def test_a_bots_runs_read_back(fleet):
    store = Store.of(fleet)
    StoredRuns.of(fleet).write_bot("owl-wren", VERSION)
    train = read_back(store, f"owl-wren-{VERSION}")
    made = [
        read_back(store, f"tweets.{handle}.{published.digest(handle)[:12]}")["makes"][f"{handle}-train"]
        for handle in ("owl", "wren")
    ]
    assert (train["run"].run_group, train["run"].job_type, train["run"].display_name) == ("birds", "train", "owl-wren")
    assert train["config"]["seed"] == 7 and "torch" in train["config"]["libraries"]
    losses = [step["train/loss"] for step in train["history"] if "train/loss" in step]
    assert len(losses) == 40 and losses == sorted(losses, reverse=True)
    assert train["summary"]["held_out/loss"] == 3.5
    assert [artifact.digest for artifact in made] == [train["uses"][f"{one}-train"].digest for one in ("owl", "wren")]
    assert set(train["uses"]) == {"mini", "owl-train", "wren-train"}
    model = train["makes"]["owl-wren-model"]
    assert model.type == "finetuned-model" and set(model.aliases) == {"latest", VERSION}
    table = next(step["samples"] for step in train["history"] if "samples" in step)
    assert json.loads((train["folder"] / "files" / table["path"]).read_text())["data"] == [
        ["My dream is", "My dream is rain"],
        ["My dream is", "My dream is 🐦"],
        ["", "Rain again."],
    ]


def test_models_are_referred_to_and_nothing_is_copied(fleet):
    store = Store.of(fleet)
    StoredRuns.of(fleet).write_bot("wren", VERSION)
    run = read_back(store, f"wren-{VERSION}")
    [entry] = run["makes"]["wren-model"].manifest.contents
    assert entry.ref == f"file://{store.path(f'bots/wren/{VERSION}/model.safetensors')}" and not entry.local_path
    staging = Path.home() / ".local/share/wandb/artifacts/staging"
    assert not list(staging.rglob("*")), "W&B keeps copies that nobody deletes"


def test_writing_again_adds_nothing_and_a_crash_loses_nothing(fleet):
    store = Store.of(fleet)
    StoredRuns.of(fleet).write_bot("wren", VERSION)
    before = stored_runs.runs(store)
    assert len(before) == 2
    StoredRuns.of(fleet).write_bot("wren", VERSION)
    assert stored_runs.runs(store) == before
    [train] = [name for name in before if "tweets." not in name]
    store.delete(f"wandb/{train}")  # as if the writer had been killed between the two
    StoredRuns.of(fleet).write_bot("wren", VERSION)
    assert sorted(map(stored_runs.id_of, stored_runs.runs(store))) == sorted(map(stored_runs.id_of, before))


def test_the_fleets_run_reads_back(fleet):
    store = Store.of(fleet)
    rows = published.report(store, ("owl-wren", "wren"))
    stored = StoredRuns.of(fleet)
    stored.write_fleet(rows)
    stored.write_fleet(rows)
    [folder] = stored_runs.runs(store)
    run = read_back(store, stored_runs.id_of(folder))
    assert run["summary"]["bots"] == 2 and run["run"].job_type == "fleet"
    table = run["folder"] / "files" / run["history"][-1]["bots"]["path"]
    assert [row[0] for row in json.loads(table.read_text())["data"]] == ["owl-wren", "wren"]


def test_a_bot_without_provenance_is_an_error(fleet):
    Store.of(fleet).delete(f"bots/wren/{VERSION}/provenance.json")
    with pytest.raises(FileNotFoundError, match=rf"bots/wren/{VERSION} has no readable provenance\.json"):
        StoredRuns.of(fleet).write_bot("wren", VERSION)


def test_the_fleets_run_is_missing_until_it_is_written_and_never_needed_without_bots(fleet):
    rows = published.report(Store.of(fleet), ("wren",))
    stored = StoredRuns.of(fleet)
    assert stored.has_fleet([]) and stored.has_fleet([rows[0] | {"status": "skipped"}])
    assert not stored.has_fleet(rows)
    stored.write_fleet(rows)
    assert stored.has_fleet(rows) and StoredRuns.of(fleet).has_fleet(rows)


def test_a_run_is_synced_once_its_folder_has_the_mark_that_wandb_makes(fleet):
    store = Store.of(fleet)
    StoredRuns.of(fleet).write_bot("wren", VERSION)
    first, second = stored_runs.runs(store)
    assert stored_runs.unsynced(store) == [first, second]
    store.write(f"wandb/{first}/run-{stored_runs.id_of(first)}.wandb.synced", b"")
    assert stored_runs.mark_of(first) == f"wandb/{first}/run-{stored_runs.id_of(first)}.wandb.synced"
    assert (stored_runs.synced(store), stored_runs.unsynced(store)) == ({first}, [second])


def test_the_runs_about_a_person_are_those_of_their_tweets_and_bots_and_the_fleets(fleet):
    store = Store.of(fleet)
    stored = StoredRuns.of(fleet)
    for bot in ("owl-wren", "wren"):
        stored.write_bot(bot, VERSION)
    stored.write_fleet(published.report(store, ("owl-wren", "wren")))
    about = {stored_runs.id_of(name).split(".")[0] for name in stored_runs.runs_about(store, "owl", ["owl-wren"])}
    assert about == {"tweets", f"owl-wren-{VERSION}", "fleet"}
    names = [stored_runs.id_of(name) for name in stored_runs.runs_about(store, "owl", ["owl-wren"])]
    assert not any(name.startswith(("tweets.wren.", "wren-")) for name in names)


def test_other_folders_beside_the_runs_are_ignored(fleet):
    store = Store.of(fleet)
    store.write("wandb/latest-run-of-somebody-elses-program/log.txt", b"")
    store.write("wandb/.lock", b"")
    assert stored_runs.runs(store) == [] == stored_runs.unsynced(store)
