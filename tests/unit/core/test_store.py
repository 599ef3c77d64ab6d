"""The store: what is in it is whole, and it is where the fleet file says."""

import pickle
from pathlib import Path

import pytest
from pyarrow import fs

from pipeline.core.errors import UsageError, UserError
from pipeline.core.fleet import Fleet
from pipeline.core.store import Store, resolve, write_folder_at
from tests.support.remote_store import Remote

FILES = {"config.json": b"{}", "model.safetensors": b"weights"}


@pytest.fixture
def local(tmp_path: Path) -> Store:
    return Store(fs.LocalFileSystem(), str(tmp_path / "fleets" / "birds"))


@pytest.fixture(params=["local", "remote"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "local":
        return request.getfixturevalue("local")
    (tmp_path / "bucket").mkdir()
    return Store(fs.PyFileSystem(Remote(tmp_path / "bucket")), "fleets/birds")


def test_a_fleets_store_is_a_folder_of_its_name(tmp_path):
    fleet = Fleet(fleet="birds", tweets=["wren.csv"], storage=str(tmp_path))
    Store.of(fleet).write("bots/wren/current", b"abc")
    assert (tmp_path / "birds" / "bots" / "wren" / "current").read_bytes() == b"abc"


def test_what_is_written_is_read_and_replaces_what_was_there(store):
    store.write("bots/wren/current", b"old")
    store.write("bots/wren/current", b"new")
    assert store.read("bots/wren/current") == b"new"
    assert store.list("bots/wren") == ["current"]


def test_a_file_that_is_not_there_is_a_file_not_found(store):
    with pytest.raises(FileNotFoundError):
        store.read("bots/wren/current")
    assert not store.exists("bots/wren/current")


def test_a_folder_that_is_not_there_is_empty(store):
    assert store.list("bots") == []


def test_a_folder_is_listed_in_order(store):
    for name in ("wren", "lark", "robin"):
        store.write(f"bots/{name}/current", b"1")
    assert store.list("bots") == ["lark", "robin", "wren"]


def test_a_folder_of_files_is_written_and_deleted_whole(store):
    store.write_folder("bots/wren/v1", FILES)
    assert {name: store.read(f"bots/wren/v1/{name}") for name in store.list("bots/wren/v1")} == FILES
    store.delete("bots/wren/v1")
    assert store.list("bots/wren/v1") == []


def test_deleting_what_is_not_there_is_no_error(store):
    store.delete("bots/wren")
    assert not store.exists("bots/wren")


def test_one_file_can_be_deleted_beside_others(store):
    store.write_folder("bots/wren/v1", FILES)
    store.delete("bots/wren/v1/config.json")
    assert store.list("bots/wren/v1") == ["model.safetensors"]


def test_a_models_folder_can_be_had_locally(store, tmp_path):
    store.write_folder("bots/wren/v1", FILES)
    folder = store.fetch("bots/wren/v1", tmp_path / "cache")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == FILES


def test_a_local_models_folder_is_not_copied(local, tmp_path):
    local.write_folder("bots/wren/v1", FILES)
    assert local.fetch("bots/wren/v1", tmp_path / "cache") == Path(local.path("bots/wren/v1"))
    assert not (tmp_path / "cache").exists()


def test_a_folder_written_anew_holds_nothing_of_the_old_one(store):
    shards = {f"model-0000{i}-of-00002.safetensors": b"old weights" for i in (1, 2)}
    store.write_folder("bases/mini", FILES | shards | {"files/old.json": b"{}"})
    store.write("bases/mini-large/config.json", b"{}")
    store.write_folder("bases/mini", FILES)
    assert {name: store.read(f"bases/mini/{name}") for name in store.list("bases/mini") if name != "files"} == FILES
    assert not store.exists("bases/mini/files/old.json")
    assert store.exists("bases/mini-large/config.json")


def test_a_folder_can_be_written_outside_a_fleets_store(tmp_path):
    write_folder_at(str(tmp_path / "bases" / "mini"), FILES)
    assert {path.name: path.read_bytes() for path in (tmp_path / "bases" / "mini").iterdir()} == FILES
    assert {path.name for path in tmp_path.rglob("*")} == {"bases", "mini", *FILES}


def test_only_folders_with_a_versions_name_are_versions(store):
    assert (store.versions("wren"), store.current_version("wren")) == ([], None)
    for name in ("0123456789ab", "cafe00000000", "work", "0123456789AB", "0123456789abc"):
        store.write(f"bots/wren/{name}/config.json", b"{}")
    store.write("bots/wren/current", b"cafe00000000\n")
    assert store.versions("wren") == ["0123456789ab", "cafe00000000"]
    assert store.current_version("wren") == "cafe00000000"


@pytest.mark.parametrize("content", [None, b"", b"{", b"\xff"])
def test_json_that_is_missing_or_broken_reads_as_empty(store, content):
    if content is not None:
        store.write("report.json", content)
    assert store.read_json("report.json") == {}


def test_json_below_what_is_no_folder_reads_as_empty(tmp_path):
    store = Store.of(Fleet(fleet="birds", tweets=["x.csv"], storage=str(tmp_path)))
    store.write("work/trained/wren", b"a file")
    assert store.read_json("work/trained/wren/0123456789ab/training.json") == {}


class Flaky(Remote):
    """A remote store whose requests to read fail `failures` times."""

    def __init__(self, root: Path, failures: int, message: str):
        super().__init__(root)
        self.failures, self.message, self.asked = failures, message, 0

    def open_input_file(self, path):
        self.asked += 1
        if self.asked <= self.failures:
            raise OSError(self.message)
        return super().open_input_file(path)


@pytest.fixture
def waits(monkeypatch) -> list[float]:
    """The seconds that the code under test asked to sleep; nothing sleeps."""
    found: list[float] = []
    monkeypatch.setattr("tenacity.nap.time.sleep", found.append)
    return found


def flaky_store(tmp_path: Path, failures: int, message: str) -> tuple[Store, Flaky]:
    (tmp_path / "report.json").write_bytes(b"{}")
    handler = Flaky(tmp_path, failures, message)
    return Store(fs.PyFileSystem(handler), ""), handler


def test_a_request_that_is_throttled_is_made_again_after_longer_and_longer_waits(tmp_path, waits):
    store, handler = flaky_store(tmp_path, 8, "SlowDown")
    assert store.read("report.json") == b"{}"
    assert handler.asked == 9
    assert waits == pytest.approx([0.4, 0.8, 1.6, 3.2, 6.4, 10, 10, 10])


def test_the_ninth_failure_of_a_request_is_raised_as_it_is(tmp_path, waits):
    store, handler = flaky_store(tmp_path, 9, "SlowDown")
    with pytest.raises(OSError, match="SlowDown"):
        store.read("report.json")
    assert handler.asked == 9


@pytest.mark.parametrize(
    "message",
    [
        "AWS Error ACCESS_DENIED during GetObject",
        "NO_SUCH_BUCKET",
        "INVALID_ACCESS_KEY_ID",
        "SIGNATURE_DOES_NOT_MATCH",
        "HTTP 403: Access Denied",
    ],
)
def test_a_request_that_will_never_succeed_is_made_once(tmp_path, waits, message):
    store, handler = flaky_store(tmp_path, 1, message)
    with pytest.raises(OSError, match=message):
        store.read("report.json")
    assert (handler.asked, waits) == (1, [])


class Failing(dict):
    """Files of which the last cannot be produced, as when the disk is full half-way."""

    def items(self):
        yield from super().items()
        raise OSError("disk full")


def test_a_folder_that_could_not_be_finished_leaves_nothing_behind(local):
    with pytest.raises(OSError, match="disk full"):
        local.write_folder("bots/wren/v1", Failing(FILES))
    assert not [path for path in Path(local.root).rglob("*") if path.is_file()]


def test_a_write_that_fails_leaves_the_old_file_and_no_draft(local):
    local.write("report.json", b"old")
    with pytest.raises(TypeError):
        local.write("report.json", "not bytes")  # type: ignore[arg-type]
    assert local.read("report.json") == b"old"
    assert [path.name for path in Path(local.root).iterdir()] == ["report.json"]


def test_a_reader_never_sees_a_half_written_file(local, monkeypatch):
    local.write("report.json", b"old")
    seen = []

    def spy(draft: str, path: str) -> None:
        seen.append(local.read("report.json"))
        assert local.list("") == ["report.json"]  # the draft does not count as a file
        fs.LocalFileSystem().move(draft, path)

    class Watched(fs.LocalFileSystem):
        move = staticmethod(spy)

    Store(Watched(), local.root).write("report.json", b"new")
    assert (seen, local.read("report.json")) == ([b"old"], b"new")


def test_a_store_travels_to_another_process(local):
    local.write("report.json", b"{}")
    assert pickle.loads(pickle.dumps(local)).read("report.json") == b"{}"


def test_a_writable_store_is_left_as_it_was_found(store, tmp_path):
    store.write("work/people.json", b"{}")
    store.check_writable()
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["people.json"]  # drafts included


def test_storage_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "a file").write_text("in the way")
    store = Store(fs.LocalFileSystem(), str(tmp_path / "a file" / "birds"))
    with pytest.raises(UserError, match="a file/birds: cannot be written"):
        store.check_writable()


def test_a_local_path_becomes_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    filesystem, path = resolve("fleets")
    assert isinstance(filesystem, fs.LocalFileSystem)
    assert path == str(tmp_path / "fleets")


def test_a_file_uri_is_a_local_path(tmp_path):
    filesystem, path = resolve(f"file://{tmp_path}/fleets")
    assert isinstance(filesystem, fs.LocalFileSystem)
    assert path == str(tmp_path / "fleets")


@pytest.mark.parametrize("uri", ["nowhere://bucket/x", "://x", "http://example.org/x"])
def test_storage_of_an_unknown_kind_is_named(uri):
    with pytest.raises(UserError, match="no such storage"):
        resolve(uri)


def test_a_path_that_ray_deletes_with_the_job_is_refused():
    copy = "/tmp/ray/session_1/runtime_resources/working_dir_files/_ray_pkg_0123456789abcdef/fleets"
    with pytest.raises(UsageError, match="`huggingtweets submit`"):
        Store.of(Fleet(fleet="toys", tweets=["."], storage=copy))
    with pytest.raises(UsageError, match="deleted with it"):
        write_folder_at(f"{copy}/base", FILES)
