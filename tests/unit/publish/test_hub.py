"""Pushing to the hub: the real client against a hub on loopback."""

import json
import os

import httpx
import pytest
import tenacity
from huggingface_hub import constants
from huggingface_hub.errors import HfHubHTTPError
from pyarrow import fs

from pipeline.core import checksums
from pipeline.core.errors import UsageError, UserError
from pipeline.core.progress import Progress
from pipeline.core.store import Store
from pipeline.publish import hub
from pipeline.publish.export import export
from tests.support.fake_hub import Hub

FILES = {
    "config.json": b"{}",
    "model.safetensors": b"w" * 1000,
    "README.md": b"---\nlicense: mit\n---\ncard\n",
    "metrics.json": b"{}",
    "stats.json": b"{}",
}


REQUEST = httpx.Request("POST", "http://hub.example/api/repos/create")


class Busy:
    """Takes the place of a call to a hub that is busy."""

    calls = 0

    def __call__(self, *args, **options):
        self.calls += 1
        raise HfHubHTTPError("busy", response=httpx.Response(503, request=REQUEST))


@pytest.fixture
def server(monkeypatch):
    server = Hub()
    monkeypatch.setattr(constants, "ENDPOINT", server.address)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setenv("HF_TOKEN", "hf_good")
    yield server
    server.stop()


@pytest.fixture
def store(tmp_path):
    store = Store(fs.LocalFileSystem(), str(tmp_path / "fleets/birds"))
    for bot in ("owl", "owl-wren", "wren"):
        store.write_folder(f"bots/{bot}/aaaaaaaaaaa1", FILES)
        store.write(f"bots/{bot}/current", b"aaaaaaaaaaa1")
    return store


def push(store, versions, **options):
    with Progress() as progress:
        return hub.push(store, versions, "birds", options.get("private", True), progress)


def test_bots_get_private_repositories_with_a_tag_for_the_version(server, store):
    results = push(store, {"wren": "aaaaaaaaaaa1", "owl-wren": "aaaaaaaaaaa1"})
    assert [(one.repository, one.status) for one in results] == [("birds/owl-wren", "pushed"), ("birds/wren", "pushed")]
    repo = server.repos["birds/wren"]
    assert repo["private"] is True
    assert {name: repo["files"][name] for name in FILES} == FILES
    assert list(repo["tags"]) == ["aaaaaaaaaaa1"]


def test_only_what_changed_is_pushed_again(server, store):
    push(store, {"wren": "aaaaaaaaaaa1", "owl": "aaaaaaaaaaa1"})
    fewer = {name: data for name, data in FILES.items() if name != "stats.json"}
    store.write_folder("bots/wren/aaaaaaaaaaa2", fewer | {"model.safetensors": b"x" * 1000})
    assert [one.status for one in push(store, {"wren": "aaaaaaaaaaa2", "owl": "aaaaaaaaaaa1"})] == [
        "unchanged",
        "pushed",
    ]
    assert list(server.repos["birds/wren"]["tags"]) == ["aaaaaaaaaaa1", "aaaaaaaaaaa2"]
    assert server.repos["birds/wren"]["files"] == fewer | {"model.safetensors": b"x" * 1000}
    assert len(server.repos["birds/owl"]["commits"]) == 1


def test_a_new_card_is_pushed_for_a_version_that_is_there(server, store):
    push(store, {"wren": "aaaaaaaaaaa1"})
    store.write("bots/wren/aaaaaaaaaaa1/README.md", b"---\nlicense: mit\n---\na better card\n")
    assert [one.status for one in push(store, {"wren": "aaaaaaaaaaa1"})] == ["pushed"]
    assert b"better" in server.repos["birds/wren"]["files"]["README.md"]
    assert list(server.repos["birds/wren"]["tags"]) == ["aaaaaaaaaaa1"]
    assert [one.status for one in push(store, {"wren": "aaaaaaaaaaa1"})] == ["unchanged"]


def test_a_busy_hub_is_asked_again(server, store, monkeypatch):
    pauses: list[float] = []
    monkeypatch.setattr("tenacity.nap.time.sleep", pauses.append)
    server.failures = [503, 429]
    assert push(store, {"wren": "aaaaaaaaaaa1"})[0].status == "pushed"
    assert server.failures == [] and {1.0, 2.0} <= set(pauses)


def test_a_hub_that_stays_busy_fails_the_bot_after_four_tries(server, store, monkeypatch):
    monkeypatch.setattr("tenacity.nap.time.sleep", lambda seconds: None)
    monkeypatch.setattr(hub.HfApi, "create_repo", busy := Busy())
    [result] = push(store, {"wren": "aaaaaaaaaaa1"})
    assert (result.status, busy.calls) == ("failed", 4) and "busy" in (result.reason or "")


@pytest.mark.parametrize(("asked", "pause"), [("7", 7.0), ("100000", 300.0), ("", 1.0), ("soon", 1.0)])
def test_the_hub_may_ask_for_a_longer_pause(asked, pause):
    state = tenacity.RetryCallState(None, None, (), {})
    response = httpx.Response(429, headers={"Retry-After": asked} if asked else {}, request=REQUEST)
    error = HfHubHTTPError("busy", response=response)
    state.set_exception((HfHubHTTPError, error, None))
    assert hub._pause(state) == pause


def test_a_refused_bot_fails_alone(server, store):
    server.failures = [403]
    statuses = {one.status for one in push(store, {"wren": "aaaaaaaaaaa1", "owl": "aaaaaaaaaaa1"})}
    assert statuses == {"failed", "pushed"}


def test_a_name_too_long_for_the_hub_fails_alone(server, store):
    crowd = "-".join(f"person{i:09d}" for i in range(8))
    store.write_folder(f"bots/{crowd}/aaaaaaaaaaa1", FILES)
    result, _ = push(store, {crowd: "aaaaaaaaaaa1", "wren": "aaaaaaaaaaa1"})
    assert result.status == "failed"
    assert result.reason == "its name has 127 characters and the hub allows 96; blend fewer people"


def test_a_refused_token_ends_it(server, store, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_bad")
    with pytest.raises(UserError, match="HF_TOKEN"):
        push(store, {"wren": "aaaaaaaaaaa1"})
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(UserError, match="HF_TOKEN is not set"):
        push(store, {"wren": "aaaaaaaaaaa1"})


def test_an_organisation_is_a_name(server, store):
    with Progress() as progress, pytest.raises(UsageError, match="--hub"):
        hub.push(store, {"wren": "aaaaaaaaaaa1"}, "../x", True, progress)


def test_repositories_can_be_removed(server, store):
    push(store, {"wren": "aaaaaaaaaaa1"})
    assert list(hub.repositories(store, "wren")) == ["birds/wren"]
    assert list(hub.remove(store, "wren")) == [("birds/wren", None)]
    assert not server.repos
    assert list(hub.remove(store, "wren")) == []
    push(store, {"wren": "aaaaaaaaaaa1"})
    server.repos.clear()  # somebody deleted it there
    assert list(hub.remove(store, "wren")) == [("birds/wren", None)]


def test_a_bot_is_exported_as_a_plain_folder(store, tmp_path):
    assert export(store, "wren", tmp_path / "out") == "aaaaaaaaaaa1"
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == FILES
    with pytest.raises(UsageError, match="not empty"):
        export(store, "wren", tmp_path / "out")
    with pytest.raises(UserError, match="not published"):
        export(store, "stork", tmp_path / "other")


def test_the_record_of_pushes_is_in_the_store(server, store):
    push(store, {"wren": "aaaaaaaaaaa1"})
    assert json.loads(store.read("bots/wren/hub.json"))["birds/wren"]["version"] == "aaaaaaaaaaa1"
    assert os.environ["HF_TOKEN"] not in store.read("bots/wren/hub.json").decode()


def test_the_export_command(store, tmp_path, huggingtweets):
    fleet = tmp_path / "birds.yaml"
    fleet.write_text("fleet: birds\ntweets: nothing.csv\n")
    assert huggingtweets("export", fleet, "@Wren", "--to", tmp_path / "out")[0] == 0
    assert (tmp_path / "out/model.safetensors").exists()
    assert huggingtweets("export", fleet, "../wren", "--to", tmp_path / "out2")[0] == 2


def test_a_damaged_bot_is_neither_pushed_nor_exported(server, store, tmp_path):
    sums = checksums.of({"model.safetensors": b"other weights"})
    store.write(f"bots/wren/aaaaaaaaaaa1/{checksums.FILE}", sums)
    [result] = push(store, {"wren": "aaaaaaaaaaa1"})
    assert result.status == "failed" and "model.safetensors is not what was published" in result.reason
    assert not server.repos
    with pytest.raises(UserError, match=r"bot wren: .*model\.safetensors is not what was published"):
        export(store, "wren", tmp_path / "wren")
