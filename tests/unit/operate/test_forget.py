"""A person is taken out: all their files are removed, nobody else's are, and what others hold is named."""

import json
import os
import sys
import tempfile
import time

import pytest
from huggingface_hub import constants
from pyarrow import fs

from pipeline.base import adapt
from pipeline.core.errors import UserError
from pipeline.core.progress import Progress
from pipeline.core.store import Store
from pipeline.operate import forget as forgetting
from pipeline.operate.forget import forget, forget_and_retrain, plan_to_forget, readmit
from pipeline.plan.forgotten import forgotten, left_out
from pipeline.publish import hub
from pipeline.track import stored_runs
from pipeline.track.stored_runs import StoredRuns
from pipeline.tweets import files_of, read_batches
from tests.support import published
from tests.support.fake_hub import Hub
from tests.support.s3 import BUCKET

VERSION = "0123456789ab"
BOTS = ("owl", "owl-wren", "stork", "wren")


@pytest.fixture
def fleet(tmp_path):
    return published.fleet_of(tmp_path, BOTS)


@pytest.fixture
def store(fleet):
    return Store.of(fleet)


def files(store: Store) -> dict[str, bytes]:
    infos = store.filesystem.get_file_info(fs.FileSelector(store.root, recursive=True))
    paths = [info.path[len(store.root) + 1 :] for info in infos if info.type == fs.FileType.File]
    return {path: store.read(path) for path in paths}


@pytest.mark.parametrize("damaged", [b"", b'{"wren": {}', b'["wren"]', b'{"wren": 1}'])
def test_a_list_of_removed_people_that_cannot_be_read_lets_nobody_in_again(fleet, store, damaged):
    forget(fleet, "wren")
    store.write("forgotten.json", damaged)
    for command in (
        lambda: forgotten(store),  # of `plan`, `prepare` and `publish`
        lambda: forget(fleet, "owl"),
        lambda: readmit(fleet, "owl"),
        lambda: plan_to_forget(fleet, "owl"),
    ):
        with pytest.raises(UserError, match=r"forgotten\.json .* is damaged: restore it"):
            command()
    assert store.read("forgotten.json") == damaged and store.exists("bots/owl/current")


def test_everything_of_the_person_is_removed_and_nothing_of_the_others(fleet, store):
    store.write(f"work/trained/wren/{VERSION}/model.safetensors", b"w")
    store.write("work/voices/all.npz", b"learned from everybody")
    store.write("work/manifest/00000001-all.parquet", b"what wren's bot wrote")
    for handle in ("owl", "wren"):
        store.write(f"work/pictures/{handle}", b"a face")
    rejects = ['{"file": "/x/wren.csv", "line": 2}\n', '{"file": "/x/wrench.csv", "line": 1}\n']
    store.write("rejects.jsonl", "".join(rejects).encode())
    store.write("report.html", b"<td>wren</td>")
    store.write("work/progress.json", b'{"failed": {"owl-wren": "no luck"}, "ended": true}')
    for bot in BOTS:
        StoredRuns.of(fleet).write_bot(bot, VERSION)
    StoredRuns.of(fleet).write_fleet(published.report(store, BOTS))
    before = files(store)
    result = forget(fleet, "wren")
    after = files(store)
    assert result.bots == ["owl-wren", "wren"]
    assert not [path for path in after if "wren" in path]
    assert [path for path, data in after.items() if b"wren" in data.replace(b"wrench", b"")] == ["forgotten.json"]
    assert list(json.loads(after["work/people.json"])["people"]) == ["owl", "stork"]
    assert [row["bot"] for row in json.loads(after["report.json"])["bots"]] == ["owl", "stork"]
    assert after["rejects.jsonl"].decode() == rejects[1]
    shared = (
        "work/people.json",
        "work/progress.json",
        "work/voices",
        "work/manifest",
        "report",
        "rejects",
        "wandb/",
        "forgotten",
    )
    others = {path: data for path, data in before.items() if not path.startswith(shared) and "wren" not in path}
    others = {path: data for path, data in others.items() if not path.endswith("metrics.json")}
    assert others.items() <= after.items()
    assert json.loads(after[f"bots/owl/{VERSION}/metrics.json"])["voice"]["attributed"] == [["stork", 3]]
    ids = {stored_runs.id_of(name) for name in stored_runs.runs(store)}
    data = {f"tweets.{handle}.{published.digest(handle)[:12]}" for handle in ("owl", "stork")}
    assert ids == data | {f"owl-{VERSION}", f"stork-{VERSION}"}
    kinds = {item.kind for item in result.removed}
    assert {
        "bot",
        "tweets",
        "W&B offline run",
        "rows",
        "index entry",
        "learned from all",
        "mention",
        "picture",
    } == kinds


def test_what_others_hold_is_named(fleet, store, tmp_path):
    table = tmp_path / "tweets" / "mixed.csv"
    table.write_text('user,text\nStork,"Nothing to see here at all."\n@Wren,"One more tweet about rain."\n')
    StoredRuns.of(fleet).write_bot("wren", VERSION)
    for name in stored_runs.runs(store):
        store.write(stored_runs.mark_of(name), b"")  # synced
    for _ in range(2):  # a second call still knows
        left = [(item.kind, item.name) for item in forget(fleet, "wren").left]
        held = {name for kind, name in left if kind == "W&B"}
        assert f"huggingtweets/runs/wren-{VERSION}" in held
        assert "huggingtweets/artifacts/raw-dataset/wren-raw" in held
        assert "huggingtweets/artifacts/finetuned-model/wren-model" in held
        sources = [name for kind, name in left if kind == "source file"]
        assert sources == [str(table), str(tmp_path / "tweets" / "wren.csv")]
    assert table.exists()


def test_repositories_are_deleted_and_a_failed_one_is_tried_again(fleet, store, monkeypatch):
    server = Hub()
    monkeypatch.setattr(constants, "ENDPOINT", server.address)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setenv("HF_TOKEN", "hf_good")
    try:
        with Progress() as progress:
            hub.push(store, dict.fromkeys(("wren", "owl-wren", "owl"), VERSION), "birds", True, progress)
        monkeypatch.delenv("HF_TOKEN")
        left = [item for item in forget(fleet, "wren").left if item.kind == "repository"]
        assert [item.name for item in left] == ["birds/owl-wren", "birds/wren"]
        assert "HF_TOKEN" in left[0].reason
        assert store.list("bots/wren") == ["hub.json"]  # all else is gone
        monkeypatch.setenv("HF_TOKEN", "hf_good")
        result = forget(fleet, "wren")
        assert [item.name for item in result.removed if item.kind == "repository"] == [
            "birds/owl-wren",
            "birds/wren",
        ]
        assert list(server.repos) == ["birds/owl"] and not store.exists("bots/wren")
    finally:
        server.stop()


def test_a_person_without_tweets_can_be_removed_too(fleet, store, huggingtweets, tmp_path):
    code, out, err = huggingtweets("forget", tmp_path / "birds.yaml", "@Heron", "--json")
    assert code == 0 and json.loads(out)["removed"] == []
    assert "@heron is forgotten" in err and list(json.loads(store.read("forgotten.json"))) == ["heron"]
    assert huggingtweets("forget", tmp_path / "birds.yaml", "../wren")[0] == 2


def test_a_dry_run_changes_nothing_and_lists_what_forgetting_removes(fleet, store, huggingtweets, tmp_path):
    store.write("work/voices/all.npz", b"learned from everybody")
    before = files(store)
    planned = plan_to_forget(fleet, "wren")
    code, out, err = huggingtweets("forget", tmp_path / "birds.yaml", "wren", "--dry-run", "--json")
    assert code == 0 and "would remove  bot owl-wren" in err and "is forgotten" not in err
    assert [item["name"] for item in json.loads(out)["removed"]] == [item.name for item in planned.removed]
    assert files(store) == before
    assert forget(fleet, "wren").removed == planned.removed


def test_on_a_terminal_it_asks_first(fleet, store, huggingtweets, tmp_path, monkeypatch):
    class Terminal:
        def __init__(self, answer: str):
            self.answer = answer

        def isatty(self) -> bool:
            return True

        def readline(self, *arguments: int) -> str:
            return self.answer

    before = files(store)
    monkeypatch.setattr(sys, "stdin", Terminal("n\n"))
    assert huggingtweets("forget", tmp_path / "birds.yaml", "wren")[0] == 1
    assert files(store) == before
    assert huggingtweets("forget", tmp_path / "birds.yaml", "wren", "--yes")[0] == 0
    assert not store.exists("bots/wren")


def adapted_base(store: Store, name: str, hash_: str, handles: list[str] | None) -> None:
    """A base in the store that learned from these people; None: it does not say from whom."""
    files = {"config.json": b"{}", "model.safetensors": name.encode()}
    learned = {} if handles is None else {"learned": {"hash": hash_, "handles": handles}}
    store.write_folder(f"work/adapted/{name}", files | {adapt.METRICS: json.dumps({"people": 3} | learned).encode()})


def test_bots_of_others_on_a_base_that_had_learned_from_the_person_are_listed_until_they_are_made_again(fleet, store):
    adapted_base(store, "one", "ba5e" * 16, ["owl", "wren"])  # the base of all the bots here
    for bot in ("owl", "stork"):
        StoredRuns.of(fleet).write_bot(bot, VERSION)
    left = [item for item in forget(fleet, "wren").left if item.kind == "bot"]
    assert [item.name for item in left] == [f"owl {VERSION}", f"stork {VERSION}"]
    assert "`forget --retrain`" in left[0].reason
    store.write_folder("bots/owl/ffffffffffff", {"model.safetensors": b"made again"})
    store.write("bots/owl/current", b"ffffffffffff")
    store.write(f"work/trained/stork/{VERSION}/provenance.json", store.read(f"bots/stork/{VERSION}/provenance.json"))
    second = forget(fleet, "wren")  # the base is gone by now; the store still knows
    assert not second.complete and [item.name for item in second.left if item.kind == "bot"] == [f"stork {VERSION}"]
    assert [item.name for item in second.removed if item.kind == "version"] == [f"owl {VERSION}", f"stork {VERSION}"]
    ids = {stored_runs.id_of(name) for name in stored_runs.runs(store)}
    assert f"owl-{VERSION}" not in ids and f"tweets.owl.{published.digest('owl')[:12]}" in ids
    assert store.versions("owl") == ["ffffffffffff"] and not store.exists(f"work/trained/stork/{VERSION}")
    assert store.current_version("stork") == VERSION
    # so it does when the next person is removed, who had learned with the first
    assert [item.name for item in forget(fleet, "owl").left if item.kind == "bot"] == [f"stork {VERSION}"]


def test_retraining_makes_others_bots_again_and_deletes_their_old_versions_once_they_are_not_served(
    fleet, store, monkeypatch
):
    adapted_base(store, "one", "ba5e" * 16, ["owl", "wren"])
    served = [{"owl": VERSION}, {"owl": VERSION}, {"owl": "ffffffffffff"}]  # as the gateway takes over the new version

    def run(fleet, steps, progress, wait):
        assert not store.exists("bots/wren") and "wren" in store.read_json("forgotten.json")
        for bot in ("owl", "stork"):
            store.write_folder(f"bots/{bot}/ffffffffffff", {"model.safetensors": b"made again"})
            store.write(f"bots/{bot}/current", b"ffffffffffff")
        return {"bots": []}

    monkeypatch.setattr(forgetting, "run", run)
    monkeypatch.setattr(forgetting, "served", lambda fleet: served.pop(0) if len(served) > 1 else served[0])
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    result, _ = forget_and_retrain(fleet, "wren", Progress())
    assert result.complete and not [item for item in result.left if item.kind in ("bot", "version")]
    assert {f"owl {VERSION}", f"stork {VERSION}", "wren", "owl-wren"} <= {item.name for item in result.removed}
    assert [store.versions(bot) for bot in ("owl", "stork")] == [["ffffffffffff"]] * 2


@pytest.mark.parametrize("handles", [["owl", "stork"], None])
def test_a_base_that_did_not_learn_from_the_person_makes_no_bot_suspect(fleet, store, handles):
    hash_ = "ba5e" * 16 if handles else ""
    adapted_base(store, "one", hash_, handles)  # of None it is assumed that it did, but it is no bot's base
    result = forget(fleet, "wren")
    assert result.complete and not [item for item in result.left if item.kind == "bot"]
    assert len(json.loads(store.read("forgotten.json"))["wren"]["bases"]) == (handles is None)


def test_repositories_of_others_with_such_a_version_are_named(fleet, store):
    adapted_base(store, "one", "ba5e" * 16, ["owl", "wren"])
    store.write("bots/owl/hub.json", json.dumps({"birds/owl": {"version": VERSION, "card": "x"}}).encode())
    [copy] = [item for item in forget(fleet, "wren").left if item.kind == "hub copy"]
    assert copy.name == "birds/owl" and VERSION in copy.reason


def test_readmit_lets_a_removed_person_in_again(fleet, store, huggingtweets, tmp_path):
    assert huggingtweets("readmit", tmp_path / "birds.yaml", "wren")[0] == 1
    forget(fleet, "wren")
    code, _, err = huggingtweets("readmit", tmp_path / "birds.yaml", "@Wren")
    assert code == 0 and "huggingtweets run" in err
    assert store.read_json("forgotten.json") == {}
    assert store.read_json("work/people.json")["fingerprint"] == ""  # so that their tweets are read again
    assert not readmit(fleet, "wren")


def test_an_account_of_a_person_stands_for_the_person(tmp_path):
    fleet = published.fleet_of(tmp_path, BOTS, people={"wren": ["wren_x", "wren"]})
    assert forget(fleet, "wren_x").bots == ["owl-wren", "wren"]
    assert list(Store.of(fleet).read_json("forgotten.json")) == ["wren"]


def test_an_account_of_the_person_does_not_come_back_as_somebody_else(tmp_path):
    """The fleet file's entry of a removed person is removed too, and the account's records are still in the files."""
    fleet = published.fleet_of(tmp_path, BOTS, people={"wren": ["wren_x", "wren"]})
    store = Store.of(fleet)
    lines = ['{"file": "/x/wren_x.csv", "line": 2}\n', '{"file": "/x/owl.csv", "line": 1}\n']
    store.write("rejects.jsonl", "".join(lines).encode())
    forget(fleet, "wren")
    assert store.read("rejects.jsonl").decode() == lines[1]
    later = published.fleet_of(tmp_path, ())  # without `people`
    (tmp_path / "tweets" / "wren_x.csv").write_text('id,text\n1,"One more tweet about rain."\n')
    read = [batch for file in files_of(later, without=left_out(store)) for batch in read_batches(file)]
    assert {handle for batch in read for handle in batch.records["handle"].to_pylist()} == {"owl", "stork"}
    assert str(tmp_path / "tweets" / "wren_x.csv") in [item.name for item in forget(later, "wren").left]
    assert left_out(store) == {"wren", "wren_x"}
    assert readmit(later, "wren") and not left_out(store)


def test_half_written_files_of_the_person_go_at_once_and_others_when_nobody_writes_them(fleet, store):
    uuid = "0" * 32
    drafts = [f"work/tweets/.wren.parquet.{uuid}", f".rejects.jsonl.{uuid}", f"work/tweets/.owl.parquet.{uuid}"]
    for path in drafts:
        store.write(path, b"a canary sings")
    os.utime(store.path(drafts[1]), (1, 1))
    forget(fleet, "wren")
    assert [store.exists(path) for path in drafts] == [False, False, True]


def test_a_base_beside_the_store_that_may_have_learned_from_the_person_is_named(fleet, store, tmp_path):
    assert not [item for item in forget(fleet, "wren").left if item.kind == "base model"]
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "model.safetensors").write_bytes(b"w")
    fleet = fleet.model_copy(update={"pretrain": fleet.pretrain.model_copy(update={"out": str(tmp_path / "base")})})
    assert [item.name for item in forget(fleet, "wren").left if item.kind == "base model"] == [str(tmp_path / "base")]


def test_a_cluster_or_a_cache_that_refuses_stops_nothing_else(tmp_path, s3, monkeypatch):
    fleet = published.fleet_of(tmp_path, BOTS, storage=f"s3://{BUCKET}/{tmp_path.name}")
    store = Store.of(fleet)

    def refuse() -> bool:
        raise UserError("no Ray cluster answers")

    monkeypatch.setattr(forgetting, "join", refuse)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / f"huggingtweets-cache-{os.getuid()}").mkdir()
    (tmp_path / f"huggingtweets-cache-{os.getuid()}").chmod(0o777)
    result = forget(fleet, "wren")
    left = {(item.kind, item.name) for item in result.left}
    assert {("endpoint", "of this fleet"), ("copies", "on node of this command")} <= left and not result.complete
    assert not store.exists("work/tweets/wren.parquet") and not store.exists("bots/owl-wren")
