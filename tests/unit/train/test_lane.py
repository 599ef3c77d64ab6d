"""A lane in this process, without Ray: bots that break, memory that runs out, a bot that is taken up again."""

import errno
import json
import threading
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from pyarrow.fs import LocalFileSystem, SubTreeFileSystem

from pipeline.core import model_folder
from pipeline.core.fleet import Fleet
from pipeline.core.settings import Train
from pipeline.core.store import Store
from pipeline.train import lane as lanes
from pipeline.train import loop
from pipeline.train.checkpoints import Checkpoints
from pipeline.train.deepspeed_engine import init_single_process_group
from pipeline.train.lane import Lane, LaneBroken, LaneConfig
from pipeline.train.learned_tweets import read_learned
from pipeline.train.queue import Queue
from pipeline.train.tasks import RESULT_FILE, Task


@pytest.fixture
def store(tmp_path):
    return Store.of(Fleet(fleet="toys", tweets=["."], storage=str(tmp_path)))


def prepared(store: Store, handle: str, seed: int, vocabulary: int = 500) -> None:
    rng = np.random.default_rng(seed)
    tweets = [rng.integers(1, vocabulary, rng.integers(3, 20)).tolist() for _ in range(40)]
    columns = {"tokens": pa.array(tweets, pa.list_(pa.int32())), "held_out": [i % 10 == 0 for i in range(40)]}
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), sink)
    store.write(f"work/tweets/{handle}.parquet", sink.getvalue().to_pybytes())


def task(bot: str, tokens: int = 100, **settings) -> Task:
    recipe = {"epochs": 2, "block_size": 32, "learning_rate": 1e-3} | settings
    return Task(bot, [bot], f"work/trained/{bot}/v", "v", tokens, Train(**recipe))


@pytest.fixture
def make_lane(base, store):
    init_single_process_group()
    folder = model_folder.ModelFolder.read(base)

    def make(queue: Queue) -> Lane:
        return Lane(
            "run-0/0", LaneConfig("run-0", "", None, None, store, Train(), task("a").kind, "float16", {}), queue, folder
        )

    return make


def weights(store: Store, bot: str) -> bytes:
    return store.read(f"work/trained/{bot}/v/{model_folder.WEIGHTS}")


def test_an_error_with_a_bot_fails_only_that_bot(store, make_lane, monkeypatch):
    for seed, bot in enumerate(("ada", "ben", "cleo", "dora")):
        prepared(store, bot, seed, vocabulary=10**6 if bot == "ben" else 500)
    tasks = [task("ben", 4), task("cleo", 3, learning_rate=1e30), task("dora", 2, batch_size=4), task("ada", 1)]
    queue = Queue(tasks, retries=1)
    lane = make_lane(queue)
    step, sizes = lane.trainer.step, []

    def short_of_memory(blocks: torch.Tensor, rate: float, parts: int = 1) -> torch.Tensor:
        sizes.append(-(-len(blocks) // parts))
        if sizes[-1] > 1:
            raise torch.OutOfMemoryError("the device is full")
        return step(blocks, rate, parts)

    monkeypatch.setattr(lane.trainer, "step", short_of_memory)
    lane.run()
    assert set(queue.done) == {"ada", "dora"}
    assert "the base model knows 500" in queue.failed["ben"].reason
    assert "the loss was nan" in queue.failed["cleo"].reason and "Diverged" in queue.failed["cleo"].log
    assert [size for size in sizes if size > 1] == [4, 2]  # then in four parts
    metrics = queue.done["dora"].metrics
    assert metrics["held_out"]["loss"] < metrics["held_out"]["base_loss"]
    assert not lane.in_hand and not store.exists("work/checkpoints")


def test_a_lane_records_the_step_on_whole_blocks_before_its_first_bot_and_no_other(store, make_lane, monkeypatch):
    for seed, bot in enumerate(("ada", "ben")):
        prepared(store, bot, seed)
    lane = make_lane(Queue([task("ada"), task("ben", block_size=100_000)], retries=0))
    calls = []
    monkeypatch.setattr(lane.trainer, "record", lambda *shape: calls.append(("record", *shape)))
    reset = lane.trainer.reset
    monkeypatch.setattr(lane.trainer, "reset", lambda *bot: calls.append("reset") or reset(*bot))
    lane.run()
    assert calls == [("record", 1, 32), "reset", "reset"]


def test_a_lane_whose_device_is_broken_ends_and_its_bot_has_not_failed(store, make_lane, monkeypatch):
    prepared(store, "ada", 1)
    queue = Queue([task("ada")], retries=0)
    lane = make_lane(queue)

    def broken(*arguments: object, **options: object) -> None:
        raise RuntimeError("CUDA error: uncorrectable ECC error")

    monkeypatch.setattr(lane.trainer, "step", broken)
    monkeypatch.setattr(lane.trainer, "recover", broken)
    with pytest.raises(RuntimeError, match="ECC"):
        lane.run()
    assert not queue.failed and list(queue.running) == ["ada"]  # it waits again when the driver sees the lane's end


def test_a_lane_in_which_bot_after_bot_fails_ends(store, make_lane, monkeypatch):
    for seed, bot in enumerate(names := ("ada", "ben", "cleo", "dora")):
        prepared(store, bot, seed)
    queue = Queue([task(bot) for bot in names], retries=1)
    lane = make_lane(queue)

    def broken(*arguments: object, **options: object) -> None:
        raise RuntimeError("a kernel is missing")

    monkeypatch.setattr(lane.trainer, "step", broken)
    with pytest.raises(
        LaneBroken, match="3 bots in a row failed here, the last with RuntimeError: a kernel is missing"
    ):
        lane.run()
    assert not queue.failed and len(queue.waiting.by_bot) == 4


def test_a_bot_that_takes_long_continues_from_its_checkpoint_with_the_same_result(store, make_lane):
    prepared(store, "ada", 1)
    calm = Queue([task("ada")], retries=0)
    make_lane(calm).run()
    undisturbed, steps = weights(store, "ada"), calm.done["ada"].metrics["train"]["steps"]
    losses = store.read("work/trained/ada/v/provenance.json")
    store.delete("work/trained")

    rough = Queue([task("ada", checkpoint_minutes=1e-9)], retries=0)
    _break_off(make_lane, rough, 7)
    [folder] = store.list("work/checkpoints/ada")
    assert store.list(f"work/checkpoints/ada/{folder}") == ["6"] and not store.exists("work/trained/ada")
    store.write(f"work/checkpoints/ada/{folder}/9/weights.safetensors", b"the lane died while it wrote this")
    second = make_lane(rough)
    trained = _count_steps(second)
    second.run()
    assert len(trained) == steps - 6
    assert weights(store, "ada") == undisturbed
    after = store.read("work/trained/ada/v/provenance.json")
    assert after.split(b'"losses"')[1] == losses.split(b'"losses"')[1]
    assert not store.exists("work/checkpoints/ada")


@pytest.mark.parametrize("broken", ["weights.safetensors", "optimizer-0.safetensors", "log.json", "missing weights"])
def test_a_checkpoint_that_cannot_be_read_is_deleted_and_the_bot_comes_out_the_same(store, make_lane, broken, caplog):
    prepared(store, "ada", 1)
    make_lane(Queue([task("ada")], retries=0)).run()
    undisturbed = weights(store, "ada")
    store.delete("work/trained")
    rough = Queue([task("ada", checkpoint_minutes=1e-9)], retries=0)
    _break_off(make_lane, rough, 7)
    [folder] = store.list("work/checkpoints/ada")
    checkpoint = f"work/checkpoints/ada/{folder}/6"
    if broken == "missing weights":
        store.delete(f"{checkpoint}/weights.safetensors")
    else:
        store.write(f"{checkpoint}/{broken}", store.read(f"{checkpoint}/{broken}")[:100])
    make_lane(rough).run()
    assert weights(store, "ada") == undisturbed and not rough.failed
    assert "its checkpoint of step 6 is deleted" in caplog.text


def test_a_held_out_loss_that_is_not_finite_is_a_failure(store, make_lane, monkeypatch):
    prepared(store, "ada", 1)
    queue = Queue([task("ada")], retries=0)
    lane = make_lane(queue)
    losses = iter([6.0, float("nan")] * 2)
    monkeypatch.setattr(lane.trainer, "loss", lambda stream, block_size: next(losses))
    lane.run()
    reason = "Diverged: the held-out loss is nan, also with 0.25 of the learning rate"
    assert queue.failed["ada"].reason == reason and not store.exists("work/trained/ada")


def test_a_training_that_diverges_is_found_out_early_and_done_again_at_a_lower_rate(store, make_lane, monkeypatch):
    monkeypatch.setattr(loop, "_STEPS_BETWEEN_READS", 3)
    prepared(store, "ada", 1)
    queue = Queue([task("ada", epochs=9)], retries=0)
    lane = make_lane(queue)
    step, rates = lane.trainer.step, []

    def diverging(blocks: torch.Tensor, rate: float, parts: int = 1) -> torch.Tensor:
        rates.append(rate)
        loss = step(blocks, rate, parts)
        return loss * torch.nan if len(rates) <= 3 else loss

    monkeypatch.setattr(lane.trainer, "step", diverging)
    lane.run()
    steps = queue.done["ada"].metrics["train"]["steps"]
    assert len(rates) == 3 + steps  # not to the end
    assert rates[3] == 0.25 * rates[0]
    assert queue.done["ada"].metrics["lowered_rate"] == {"recipe": 1e-3, "used": 2.5e-4}


def test_a_bot_outlives_an_outage_of_the_store_in_reading_and_in_writing(store, make_lane, monkeypatch):
    monkeypatch.setattr(lanes, "_OUTAGE_SECONDS", (0.01, 0.02))
    prepared(store, "ada", 1)
    read, write_folder = Store.read, Store.write_folder
    away = {"read": 3, "write": 3}

    def unless_away(how: str) -> None:
        if away[how]:
            away[how] -= 1
            raise OSError(errno.ESTALE, "stale file handle")

    monkeypatch.setattr(Store, "read", lambda self, name: (unless_away("read"), read(self, name))[1])
    monkeypatch.setattr(
        Store, "write_folder", lambda self, name, files: (unless_away("write"), write_folder(self, name, files))[1]
    )
    queue = Queue([task("ada")], retries=0)
    make_lane(queue).run()
    assert list(queue.done) == ["ada"] and away == {"read": 0, "write": 0}


def test_a_lane_that_hangs_ends_its_process_where_the_queue_says_so(store, make_lane, monkeypatch):
    prepared(store, "ada", 1)
    monkeypatch.setattr(lanes, "_REPORT_SECONDS", 0.01)
    queue = Queue([task("ada", stall_minutes=0.002)], retries=9)
    lane, ended, hang = make_lane(queue), [], threading.Event()

    def end(name: str) -> None:
        ended.append(name)
        hang.set()

    monkeypatch.setattr(lanes, "_end_process", end)
    step = lane.trainer.step
    monkeypatch.setattr(lane.trainer, "step", lambda *a: hang.wait(60) and step(*a))
    running = threading.Thread(target=lane.run)
    running.start()
    while not ended and running.is_alive():
        queue.status("", 0)
        time.sleep(0.01)
    running.join(timeout=60)
    assert set(ended) == {"run-0/0"} and not queue.failed


def test_a_disk_that_is_full_is_a_failure_and_no_outage(store):
    assert not store.is_outage(OSError(errno.ENOSPC, "no space left on device"))
    remote = Store(SubTreeFileSystem("bucket", LocalFileSystem()), "fleets/toys")
    assert remote.is_outage(OSError("SlowDown")) and not remote.is_outage(OSError("ACCESS_DENIED"))
    assert not remote.is_outage(FileNotFoundError("gone")) and not remote.is_outage(ValueError("broken"))


def test_a_checkpoint_of_another_rate_is_not_continued_from(store, make_lane):
    trainer = make_lane(Queue([], retries=0)).trainer
    first, again = task("ada"), task("ada")
    again.rate_factor = 0.25
    assert Checkpoints(store, first, trainer).folder != Checkpoints(store, again, trainer).folder


def test_a_model_that_another_lane_has_written_or_that_is_published_stays(store, make_lane):
    version = "0123456789ab"
    prepared(store, "ada", 1)
    again = task("ada")
    again.version, again.folder = version, f"work/trained/ada/{version}"
    store.write(f"{again.folder}/{RESULT_FILE}", b"another lane's")
    make_lane(Queue([again], retries=0)).run()
    assert store.list(again.folder) == [RESULT_FILE]
    store.delete("work/trained")
    store.write("bots/ada/current", version.encode())
    queue = Queue([again], retries=0)
    make_lane(queue).run()
    assert list(queue.done) == ["ada"] and not store.exists("work/trained")


def test_the_bytes_do_not_depend_on_lane_or_order(store, make_lane):
    for seed, bot in enumerate(("ada", "ben", "cleo")):
        prepared(store, bot, seed)
    make_lane(Queue([task("ada", 3), task("ben", 2), task("cleo", 1)], retries=0)).run()
    first = {bot: weights(store, bot) for bot in ("ada", "ben", "cleo")}
    store.delete("work/trained")
    make_lane(Queue([task("cleo", 3), task("ada", 2)], retries=0)).run()
    make_lane(Queue([task("ben")], retries=0)).run()
    assert {bot: weights(store, bot) for bot in first} == first and len(set(first.values())) == 3


def published(store: Store, bot: str) -> None:
    trained = f"work/trained/{bot}/v"
    store.write_folder(f"bots/{bot}/v", {name: store.read(f"{trained}/{name}") for name in store.list(trained)})
    store.delete(f"work/trained/{bot}")


def added_to(store: Store, handle: str, seed: int, added: int) -> None:
    """The tweets of `prepared`, and more of them, which are not held out."""
    prepared(store, handle, seed)
    name = f"work/tweets/{handle}.parquet"
    before = pq.read_table(pa.BufferReader(store.read(name)))
    rng = np.random.default_rng([seed, added])
    tweets = [rng.integers(1, 500, rng.integers(3, 20)).tolist() for _ in range(added)]
    columns = {"tokens": pa.array(tweets, pa.list_(pa.int32())), "held_out": [False] * added}
    sink = pa.BufferOutputStream()
    pq.write_table(pa.concat_tables([before, pa.table(columns)]), sink)
    store.write(name, sink.getvalue().to_pybytes())


def going_on(bot: str, **settings) -> Task:
    one = task(bot, **settings)
    one.folder, one.version, one.previous_version = f"work/trained/{bot}/w", "w", "v"
    return one


def test_a_bot_continues_from_its_last_version_the_same_after_any_interruptions(store, make_lane):
    for seed, bot in enumerate(("ada", "ben")):
        prepared(store, bot, seed)
    first = Queue([task("ada"), task("ben")], retries=0)
    make_lane(first).run()
    for bot in ("ada", "ben"):
        published(store, bot)
        added_to(store, bot, ("ada", "ben").index(bot), 10)
    both = Queue([going_on("ada"), going_on("ben", tokens=99)], retries=0)
    make_lane(both).run()
    metrics = both.done["ben"].metrics
    told = metrics["continued"]
    assert (told["from"], told["new_tweets"], told["old_tweets"]) == ("v", 10, 36)
    assert told["loss_before"] == pytest.approx(first.done["ben"].metrics["held_out"]["loss"], abs=1e-3)  # float16
    assert metrics["train"]["tokens"] < 2 * 46 * 12 and told["seconds_to_start_over"] > 0
    made_by = json.loads(store.read("work/trained/ben/w/provenance.json"))
    assert made_by["last_version"] == "v" and made_by["learning_rates"][0] == 0.25 * 1e-3
    assert len(read_learned(store, "work/trained/ben/w")) == 46

    calm = store.read(f"work/trained/ben/w/{model_folder.WEIGHTS}")
    store.delete("work/trained")
    rough = Queue([going_on("ben", checkpoint_minutes=1e-9)], retries=0)
    _break_off(make_lane, rough, 5)
    make_lane(rough).run()
    assert store.read(f"work/trained/ben/w/{model_folder.WEIGHTS}") == calm


def test_a_bot_whose_tweets_are_gone_starts_over(store, make_lane):
    prepared(store, "ada", 1)
    make_lane(Queue([task("ada")], retries=0)).run()
    published(store, "ada")
    prepared(store, "ada", 2)
    make_lane(Queue([task("ada")], retries=0)).run()
    queue = Queue([going_on("ada")], retries=0)
    make_lane(queue).run()
    assert "36 of the tweets" in queue.done["ada"].metrics["started_over"]["reason"]
    assert store.read(f"work/trained/ada/w/{model_folder.WEIGHTS}") == weights(store, "ada")


def _break_off(make_lane, queue: Queue, step: int) -> None:
    """A lane of the queue's is killed at a step, and the queue hears of it."""
    killed = make_lane(queue)
    _die_at_step(killed, step)
    with pytest.raises(KeyboardInterrupt):
        killed.run()
    queue.leave("run-0", {"run-0/0"}, "killed")


def _die_at_step(lane: Lane, number: int) -> None:
    step, seen = lane.trainer.step, []

    def deadly(*arguments, **options):
        seen.append(1)
        if len(seen) == number:
            raise KeyboardInterrupt  # no Exception: nothing in the lane may catch it
        return step(*arguments, **options)

    lane.trainer.step = deadly


def _count_steps(lane: Lane) -> list[int]:
    step, seen = lane.trainer.step, []

    def counted(*arguments, **options):
        seen.append(1)
        return step(*arguments, **options)

    lane.trainer.step = counted
    return seen
