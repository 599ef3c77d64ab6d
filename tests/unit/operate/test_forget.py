"""A person is taken out: all their files are removed, nobody else's are, and what others hold is named."""

import json

import pytest
from huggingface_hub import constants
from pyarrow import fs

from pipeline.core.progress import Progress
from pipeline.core.store import Store
from pipeline.operate.forget import forget
from pipeline.publish import hub
from pipeline.track import stored_runs
from pipeline.track.stored_runs import StoredRuns
from tests.support import published
from tests.support.fake_hub import Hub

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


def test_all_of_a_person_goes_and_nothing_of_the_others(fleet, store):
    store.write(f"work/trained/wren/{VERSION}/model.safetensors", b"w")
    store.write("work/voices/all.npz", b"learned from everybody")
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
    shared = ("work/people.json", "work/progress.json", "work/voices", "report", "rejects", "wandb/", "forgotten")
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


def test_repositories_go_and_one_that_cannot_is_tried_again(fleet, store, monkeypatch):
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


def test_somebody_whom_nobody_knows_is_kept_out_too(fleet, store, huggingtweets, tmp_path):
    code, out, err = huggingtweets("forget", tmp_path / "birds.yaml", "@Heron", "--json")
    assert code == 0 and json.loads(out)["removed"] == []
    assert "@heron is forgotten" in err and list(json.loads(store.read("forgotten.json"))) == ["heron"]
    assert huggingtweets("forget", tmp_path / "birds.yaml", "../wren")[0] == 2
