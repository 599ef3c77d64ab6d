"""The bots that a node keeps on its disk, from a real S3 server on loopback: checked, shared, within its budget."""

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pipeline.core import checksums
from pipeline.core.fleet import Fleet
from pipeline.core.store import Store
from serve.deployments.disk_cache import Cache
from tests.support.s3 import BUCKET

SIZE = 1_000_000


@pytest.fixture
def store(s3, tmp_path) -> Store:
    store = Store.of(Fleet(fleet=tmp_path.name[-40:].lower(), tweets=["x.csv"], storage=f"s3://{BUCKET}/cached"))
    for bot in ("wren", "stork", "owl"):
        publish(store, bot)
    return store


def publish(store: Store, bot: str, sums: bool = True) -> None:
    files = {"model.safetensors": bot.encode().ljust(SIZE), "config.json": b"{}", "metrics.json": b"{}"}
    card = {"README.md": b"a card", "predictions.png": b"picture"}
    listed = {checksums.FILE: checksums.of(files)} if sums else {}
    store.write_folder(f"bots/{bot}/1", files | card | listed)


def weights(cache: Cache, bot: str) -> bytes:
    with cache.folder(bot, "1") as folder:
        return (folder / "model.safetensors").read_bytes().rstrip()


def entries(parent: Path) -> list[str]:
    """The bots on the disk."""
    [root] = parent.glob("huggingtweets-cache-*")
    return sorted(path.name.split(".")[0] for path in root.iterdir())


def model_file(parent: Path, bot: str) -> Path:
    [path] = parent.glob(f"huggingtweets-cache-*/{bot}.*/model.safetensors")
    return path


def test_a_bot_is_fetched_once_and_only_what_serving_needs(store, s3, tmp_path):
    cache = Cache(store, 10 * SIZE, tmp_path)
    assert weights(cache, "wren") == b"wren"
    asked = s3.asked
    assert weights(cache, "wren") == b"wren" and weights(Cache(store, 10 * SIZE, tmp_path), "wren") == b"wren"
    assert s3.asked == asked
    assert sorted(os.listdir(model_file(tmp_path, "wren").parent)) == [
        "SHA256SUMS",
        "config.json",
        "model.safetensors",
    ]


def test_the_longest_unused_is_removed_when_space_is_needed(store, tmp_path):
    cache = Cache(store, int(2.5 * SIZE), tmp_path)
    for bot in ("wren", "stork", "wren", "owl"):
        assert weights(cache, bot) == bot.encode()
    assert entries(tmp_path) == ["owl", "wren"]
    assert weights(Cache(store, SIZE // 2, tmp_path), "stork") == b"stork"  # larger than the budget: alone
    assert entries(tmp_path) == ["stork"]


def test_a_bot_that_is_being_loaded_is_not_removed(store, tmp_path):
    cache = Cache(store, SIZE, tmp_path)
    with cache.folder("wren", "1") as folder:
        assert weights(cache, "stork") == b"stork"
        assert (folder / "model.safetensors").exists()
    assert weights(cache, "owl") == b"owl"
    assert entries(tmp_path) == ["owl"]


def test_a_file_that_was_changed_on_the_disk_is_fetched_again(store, s3, tmp_path):
    cache = Cache(store, 10 * SIZE, tmp_path)
    weights(cache, "wren")
    path = model_file(tmp_path, "wren")
    mapped = path.open("rb")  # as an engine at work has it
    path.write_bytes(b"half")
    assert weights(cache, "wren") == b"wren"
    before = path.stat()
    path.write_bytes(b"wrong".ljust(SIZE))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))  # by its looks nothing has changed
    assert weights(Cache(store, 10 * SIZE, tmp_path), "wren") == b"wren"  # another process looks into it
    mapped.close()


def test_a_file_that_comes_wrong_from_the_store_is_refused_by_name(store, tmp_path):
    store.write("bots/wren/1/model.safetensors", b"wrong".ljust(SIZE))
    cache = Cache(store, 10 * SIZE, tmp_path)
    with pytest.raises(ValueError, match=r"wren/1/model\.safetensors is not what was published \(sha256"):
        weights(cache, "wren")
    publish(store, "wren")  # mended in the store: that is all it takes
    assert weights(cache, "wren") == b"wren"
    store.delete("bots/stork/1/model.safetensors")
    with pytest.raises(ValueError, match=r"model\.safetensors is not in the store"):
        weights(cache, "stork")
    with pytest.raises(FileNotFoundError, match="no such bot"):
        weights(cache, "nobody")


def test_a_bot_that_was_published_before_there_were_checksums_is_taken_as_it_is(store, tmp_path):
    publish(store, "old", sums=False)
    cache = Cache(store, 10 * SIZE, tmp_path)
    assert weights(cache, "old") == weights(cache, "old") == b"old"


def test_requests_for_one_bot_share_one_fetch_and_another_bot_is_not_delayed(store, s3, tmp_path):
    weights(Cache(store, 10 * SIZE, tmp_path), "owl")
    before = s3.asked
    with ThreadPoolExecutor(8) as pool:
        caches = [Cache(store, 10 * SIZE, tmp_path) for _ in range(8)]  # as many processes
        assert set(pool.map(lambda cache: weights(cache, "wren"), caches)) == {b"wren"}
    assert s3.asked - before < 10
    s3.gone = True
    waiting = threading.Thread(target=weights, args=(caches[0], "stork"))
    waiting.start()
    try:
        began = time.monotonic()
        assert weights(caches[1], "owl") == b"owl" and time.monotonic() - began < 1
    finally:
        s3.gone = False
        waiting.join()


def test_a_fetch_that_was_broken_off_is_done_again(store, tmp_path):
    weights(Cache(store, 10 * SIZE, tmp_path), "wren")
    path = model_file(tmp_path, "wren")
    path.write_bytes(b"half")
    (path.parent / checksums.FILE).unlink()  # which is written last
    assert weights(Cache(store, 10 * SIZE, tmp_path), "wren") == b"wren"


def test_a_folder_that_others_can_write_to_is_not_used(store, tmp_path):
    (tmp_path / f"huggingtweets-cache-{os.getuid()}").mkdir(mode=0o777)
    (tmp_path / f"huggingtweets-cache-{os.getuid()}").chmod(0o777)
    with pytest.raises(PermissionError, match="others can write there"):
        weights(Cache(store, SIZE, tmp_path), "wren")


def test_a_store_on_this_disk_is_read_where_it_is(tmp_path):
    store = Store.of(Fleet(fleet="birds", tweets=["x.csv"], storage=str(tmp_path / "fleets")))
    publish(store, "wren")
    with Cache(store, SIZE, tmp_path).folder("wren", "1") as folder:
        assert folder == tmp_path / "fleets" / "birds" / "bots" / "wren" / "1"
    assert not list(tmp_path.glob("huggingtweets-cache-*"))


def test_a_store_on_this_disk_is_checked_once_for_each_state_of_its_files(tmp_path, monkeypatch):
    store = Store.of(Fleet(fleet="birds", tweets=["x.csv"], storage=str(tmp_path / "fleets")))
    publish(store, "wren")
    cache = Cache(store, SIZE, tmp_path)
    assert weights(cache, "wren") == b"wren"
    with monkeypatch.context() as patch:
        patch.setattr("pipeline.core.checksums.digest_of", None)
        assert weights(cache, "wren") == b"wren"  # nothing has changed: not read again
    store.write("bots/wren/1/model.safetensors", b"wrong".ljust(SIZE))
    for _ in range(2):
        with pytest.raises(ValueError, match=r"wren/1/model\.safetensors is not what was published \(sha256"):
            weights(cache, "wren")
    store.delete("bots/wren/1/model.safetensors")
    with pytest.raises(ValueError, match=r"model\.safetensors is missing"):
        weights(cache, "wren")
    publish(store, "wren")
    assert weights(cache, "wren") == b"wren"
    publish(store, "old", sums=False)
    assert weights(cache, "old") == b"old"
    with pytest.raises(FileNotFoundError):
        weights(cache, "nobody")


def test_bots_of_this_store_are_removed_from_the_disk_and_those_of_others_stay(store, s3, tmp_path):
    other = Store.of(Fleet(fleet=f"o{tmp_path.name[-30:].lower()}", tweets=["x.csv"], storage=f"s3://{BUCKET}/cached"))
    publish(other, "wren")
    caches = [Cache(one, 10 * SIZE, tmp_path) for one in (store, other)]
    for cache in caches:
        weights(cache, "wren")
    weights(caches[0], "owl")
    publish(store, "owl-wren")
    weights(caches[0], "owl-wren")
    names = caches[0].copies("wren")
    assert [name.split(".")[0] for name in names] == ["owl-wren", "wren"] and caches[0].remove("wren") == names
    assert entries(tmp_path) == ["owl", "wren"] and len(caches[1].copies("wren")) == 1
    assert caches[0].copies("wren") == []
    store.delete("bots/owl/1")  # an older version of another person's bot, on a base that had learned from wren
    assert [name.split(".")[:2] for name in caches[0].remove("wren")] == [["owl", "1"]]
