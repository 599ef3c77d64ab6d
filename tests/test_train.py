"""Lanes: the queue's promises, then real lanes of Ray Train and DeepSpeed on toy bots."""

import json
import os
import signal
import threading
import time

import psutil
import pytest
from safetensors.numpy import load

from pipeline import fleet as fleets
from pipeline import model, run
from pipeline.progress import Progress
from pipeline.store import Store
from pipeline.train import Queue, Task


def task(bot: str, tokens: int = 1) -> Task:
    return Task(bot, [bot], f"work/trained/{bot}/v", "v", tokens)


def test_the_largest_bot_goes_first():
    queue = Queue([task("small", 1), task("large", 9), task("middle", 5)], retries=0)
    assert [queue.take("a").bot, queue.take("b").bot, queue.take("c").bot] == ["large", "middle", "small"]


def test_a_failed_bot_is_tried_in_another_lane_then_reported():
    queue = Queue([task("ada")], retries=1)
    queue.take("a")
    queue.fail("a", "ada", "bad luck")
    assert queue.take("a") == "wait"  # a moment for the others
    assert queue.take("b").bot == "ada"
    queue.fail("b", "ada", "worse luck")
    assert queue.failed == {"ada": "worse luck"}
    assert queue.take("a") is None


def test_a_lane_alone_tries_its_failed_bot_itself():
    queue = Queue([task("ada")], retries=1)
    queue.take("a")
    queue.fail("a", "ada", "bad luck")
    assert [queue.take("a"), queue.take("a").bot] == ["wait", "ada"]


def test_what_a_dead_worker_had_comes_back():
    queue = Queue([task("ada")], retries=1)
    assert queue.enter("a")
    queue.take("a")
    assert queue.take("b") == "wait"
    assert queue.enter("a")  # started again: it had died
    assert queue.take("b").bot == "ada"


def test_a_lane_may_take_the_next_bot_while_the_last_is_being_written():
    queue = Queue([task("ada"), task("ben")], retries=0)
    queue.take("a")
    queue.take("a")
    queue.finish("a", "ada", {})
    queue.fail("a", "ben", "bad luck")
    assert list(queue.done) == ["ada"] and queue.failed == {"ben": "bad luck"}


def test_a_lane_that_never_finishes_a_bot_gives_up():
    queue = Queue([task("ada")], retries=99)
    assert [queue.enter("a") for _ in range(5)] == [True, True, True, True, False]


def report_of(fleet_file, *settings: str, steps: tuple[str, ...] = run.STEPS) -> tuple[dict, Store]:
    fleet = fleets.load(fleet_file, list(settings))
    with Progress() as progress:
        return run.run(fleet, list(steps), progress), Store.of(fleet)


def weights(store: Store, row: dict) -> dict:
    return load(store.read(f"bots/{row['bot']}/{row['version']}/{model.WEIGHTS}"))


@pytest.mark.usefixtures("cluster")
class TestLanes:
    def test_two_lanes_train_three_bots_and_a_broken_one_fails_alone(self, make_fleet):
        path = make_fleet(("ada", "ben", "cleo"), train={"lanes": 2, "retries": 0})
        report, store = report_of(path, steps=("prepare",))
        assert {row["status"] for row in report["bots"]} == {"prepared"}
        store.write("work/tweets/ben.parquet", b"not parquet")
        report, store = report_of(path, steps=("train",))
        rows = {row["bot"]: row for row in report["bots"]}
        assert [rows[bot]["status"] for bot in ("ada", "ben", "cleo")] == ["trained", "failed", "trained"]
        assert "tweets cannot be read" in rows["ben"]["reason"]
        for bot in ("ada", "cleo"):
            held_out = rows[bot]["metrics"]["held_out"]
            assert held_out["loss"] < held_out["base_loss"]

    def test_two_workers_give_the_loss_of_one_with_twice_the_batch(self, make_fleet):
        two, _ = report_of(make_fleet(("ada",), name="two"), "train.workers_per_bot=2", "train.batch_size=1")
        one, _ = report_of(make_fleet(("ada",), name="one"), "train.workers_per_bot=1", "train.batch_size=2")
        two, one = (report["bots"][0]["metrics"] for report in (two, one))
        assert two["train"]["steps"] == one["train"]["steps"]
        assert two["train"]["loss"] == pytest.approx(one["train"]["loss"], abs=1e-4)
        assert two["held_out"]["loss"] == pytest.approx(one["held_out"]["loss"], abs=1e-4)

    def test_a_killed_worker_costs_time_but_no_bot_and_no_bit(self, make_fleet):
        calm, calm_store = report_of(make_fleet(("ada", "ben"), name="calm"), "train.lanes=1", "train.epochs=40")
        killed: list[int] = []
        killer = threading.Thread(target=_kill_a_worker, args=(killed,))
        killer.start()
        rough, rough_store = report_of(make_fleet(("ada", "ben"), name="rough"), "train.lanes=1", "train.epochs=40")
        killer.join()
        assert killed
        for before, after in zip(calm["bots"], rough["bots"], strict=True):
            assert after["status"] == "trained"
            expected, got = weights(calm_store, before), weights(rough_store, after)
            assert all((expected[name] == got[name]).all() for name in expected)


def _kill_a_worker(killed: list[int]) -> None:
    """kill -9 to the first training worker that has been at work for a second."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not killed:
        for process in psutil.process_iter(["pid", "cmdline"]):
            if "RayTrainWorker" in " ".join(process.info["cmdline"] or []) and process.cpu_times().user > 4:
                os.kill(process.info["pid"], signal.SIGKILL)
                killed.append(process.info["pid"])
                return
        time.sleep(0.2)


def test_a_report_holds_every_bot(make_fleet, cluster):
    report, store = report_of(make_fleet(("ada",), bots=["ada", "ghost"]), steps=("prepare",))
    assert [(row["bot"], row["status"]) for row in report["bots"]] == [("ada", "prepared"), ("ghost", "failed")]
    assert report["bots"][1]["reason"] == "no tweets of @ghost in the fleet's files"
    assert json.loads(store.read("report.json")) == report
