"""Lanes of Ray Train and DeepSpeed on toy bots."""

import contextlib
import json
import threading

import psutil
import pytest
import ray

from pipeline import run
from pipeline.core import fleet as fleets
from pipeline.core import model_folder
from pipeline.core.progress import Progress
from pipeline.core.ray_internals import abandoned_placement_groups
from pipeline.core.store import Store
from pipeline.train.placement import free_abandoned_places, node_resources
from tests.support.toys import cpu_seconds, ray_processes, until

_IMPORTED = 3.0  # seconds of CPU: by then a worker has read its libraries, or is about to


def report_of(fleet_file, *settings: str, steps: tuple[str, ...] = ("prepare", "train")) -> tuple[dict, Store]:
    fleet = fleets.load(fleet_file, list(settings))
    with Progress() as progress:
        return run.run(fleet, list(steps), progress), Store.of(fleet)


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

    def test_lanes_of_two_workers_and_of_one_in_one_fleet_give_what_twice_the_batch_gives(self, make_fleet):
        part = "freeze_layers: 1, lora: {rank: 4}"
        overrides = f"train.overrides=[{{bots: [ada], %s, {part}}}, {{min_tokens: 1, learning_rate: 2e-3}}]"
        two, _ = report_of(make_fleet(("ada", "ben"), name="two"), overrides % "workers_per_bot: 2")
        one, _ = report_of(make_fleet(("ada", "ben"), name="one"), overrides % "batch_size: 2")
        assert {row["status"] for row in two["bots"]} == {"trained"}
        (two, ben), (one, same_ben) = ([row["metrics"] for row in report["bots"]] for report in (two, one))
        assert two["train"]["steps"] == one["train"]["steps"] < ben["train"]["steps"]
        assert two["train"]["loss"] == pytest.approx(one["train"]["loss"], abs=1e-4)
        assert two["held_out"]["loss"] == pytest.approx(one["held_out"]["loss"], abs=1e-4)
        assert ben["held_out"]["loss"] == same_ben["held_out"]["loss"]

    def test_kills_of_queue_worker_and_controller_cost_time_but_no_bot_and_no_bit(self, make_fleet):
        people = ("ada", "ben")
        calm, calm_store = report_of(make_fleet(people, name="calm"), "train.lanes=2", "train.epochs=25")
        killed, ended = [], threading.Event()
        titles = ["QueueActor", "RayTrainWorker", "TrainController"]
        killer = threading.Thread(target=_kill_each, args=(titles, killed, ended))
        killer.start()
        rough, rough_store = report_of(make_fleet(people, name="rough"), "train.lanes=2", "train.epochs=25")
        ended.set()
        killer.join()
        assert len(killed) >= 2
        for before, after in zip(calm["bots"], rough["bots"], strict=True):
            assert (before["status"], after["status"]) == ("trained", "trained")
            name = f"work/trained/{{bot}}/{{version}}/{model_folder.WEIGHTS}"
            assert rough_store.read(name.format(**after)) == calm_store.read(name.format(**before))


def _kill_each(titles: list[str], killed: list[str], ended: threading.Event) -> None:
    """kill -9 to a process of each title in turn, each time as soon as a worker computes."""
    while len(killed) < len(titles) and not ended.wait(0.1):
        workers, victims = ray_processes("RayTrainWorker"), ray_processes(titles[len(killed)])
        if victims and any(cpu_seconds(worker) > _IMPORTED for worker in workers):
            with contextlib.suppress(psutil.NoSuchProcess):
                victims[0].kill()  # SIGKILL
                killed.append(titles[len(killed)])


@pytest.mark.usefixtures("cluster")
def test_cores_that_a_killed_controller_reserved_are_free_again():
    @ray.remote(num_cpus=0)
    class Controller:
        def reserve(self) -> str:
            group = ray.util.placement_group([{"CPU": 1}])
            ray.get(group.ready())
            return group.id.hex()

    def reserved() -> set[str]:
        table = ray.util.placement_group_table()
        return {group for group, entry in table.items() if entry["state"] == "CREATED"}

    until(lambda: sum(room["CPU"] for room in node_resources(free=True).values()) == 2, seconds=60)
    controllers = [Controller.remote() for _ in range(2)]
    dead, alive = ray.get([controller.reserve.remote() for controller in controllers])
    ray.kill(controllers[0])
    until(abandoned_placement_groups, seconds=30)
    assert {dead, alive} <= reserved()
    free_abandoned_places()
    until(lambda: reserved() == {alive}, seconds=30)
    until(lambda: sum(room["CPU"] for room in node_resources(free=True).values()) == 1, seconds=30)
    ray.kill(controllers[1])
    until(abandoned_placement_groups, seconds=30)
    free_abandoned_places()


def test_a_report_holds_every_bot(make_fleet, cluster):
    report, store = report_of(make_fleet(("ada",), bots=["ada", "ghost"]), steps=("prepare",))
    assert [(row["bot"], row["status"]) for row in report["bots"]] == [("ada", "prepared"), ("ghost", "failed")]
    assert report["bots"][1]["reason"] == "no posts of @ghost in the fleet's files"
    assert json.loads(store.read("report.json")) == report
