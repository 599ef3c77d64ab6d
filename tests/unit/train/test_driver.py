"""The driver without Ray: its queue is in this process, and its runs are threads that do as each test says."""

import threading
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.core.fleet import Fleet
from pipeline.core.progress import Progress
from pipeline.core.settings import Train
from pipeline.core.store import Store
from pipeline.plan.bot import Bot
from pipeline.prepare.index import Person
from pipeline.train import driver as driving
from pipeline.train.lane import LaneConfig
from pipeline.train.queue import Queue
from pipeline.train.tasks import TrainedBot

COUNTS = {"downloaded": 9, "retweets": 0, "short": 0, "kept": 9}


class Cluster:
    """Nodes of two free cores, one if not told; `work` is what each lane does until it returns or raises an error."""

    def __init__(self, work: Callable[[str, LaneConfig, Queue], None]):
        self.work, self.runs, self.queue = work, [], None
        self.nodes = {"here": {"CPU": 2.0, "GPU": 0.0}}

    def start_queue(self, tasks: list, retries: int, store: Store) -> Queue:
        self.queue = Queue(tasks, retries)
        return self.queue

    def room(self, free: bool) -> dict[str, dict[str, float]]:
        taken = {run.node for run in self.runs if run.is_alive()} if free else set()
        return {node: dict(room) for node, room in self.nodes.items() if node not in taken}

    def run(self, config: LaneConfig, lanes: int, node: str | None, scratch: str) -> "Run":
        self.runs.append(Run(self, config, lanes, node))
        return self.runs[-1]


class Run(threading.Thread):
    """Stands in for LaneRun."""

    def __init__(self, cluster: Cluster, config: LaneConfig, lanes: int, node: str | None):
        super().__init__(daemon=True, name=config.run)
        self.cluster, self.config, self.lanes, self.node = cluster, config, lanes, node
        self.error = self.reason = ""
        self.died: set[str] = set()
        self.found_no_room = False

    def run(self) -> None:
        try:
            for number in range(self.lanes):
                self.cluster.work(f"{self.name}/{number}", self.config, self.cluster.queue)
        except RuntimeError as error:
            self.error = self.reason = str(error)
            self.died = {f"{self.name}/0"}


def trained(loss: float = 2.0) -> TrainedBot:
    held_out = {"loss": loss, "base_loss": 3.0}
    return TrainedBot({"held_out": held_out, "train": {"tokens": 10}}, seconds=1.5, handover=0.25)  # type: ignore[typeddict-item]


def train_all(lane: str, config: LaneConfig, queue: Queue) -> None:
    """A lane that trains whatever the queue gives it."""
    queue.enter(lane)
    while (assignment := queue.take(lane, config.kind)).task or assignment.wait:
        if assignment.task:
            queue.finish(lane, assignment.task.bot, trained())


@pytest.fixture
def train(tmp_path, monkeypatch) -> Callable[..., tuple[list[Bot], Cluster]]:
    """Trains bots of these names with lanes that do `work`."""

    def run(
        names: list[str],
        work: Callable[[str, LaneConfig, Queue], None],
        nodes: tuple[str, ...] = ("here",),
        **settings: Any,
    ):
        cluster = Cluster(work)
        cluster.nodes = {node: {"CPU": 2.0, "GPU": 0.0} for node in nodes}
        monkeypatch.setattr(driving, "start_queue", cluster.start_queue)
        monkeypatch.setattr(driving, "remote_queue", lambda actor: actor)
        monkeypatch.setattr(driving, "LaneRun", cluster.run)
        monkeypatch.setattr(driving, "node_resources", cluster.room)
        monkeypatch.setattr(driving, "free_abandoned_places", lambda: None)
        monkeypatch.setattr("pipeline.train.placement.capacity", lambda: (0, 2))
        ray = SimpleNamespace(
            put=lambda value: value,
            kill=lambda actor: None,
            nodes=lambda: [{"NodeID": node, "NodeManagerHostname": node, "Alive": True} for node in nodes],
        )
        monkeypatch.setattr(driving, "ray", ray)
        monkeypatch.setattr(driving, "_POLL_SECONDS", 0.01)
        fleet = Fleet(fleet="toys", tweets=["."], storage=str(tmp_path))
        base: Any = SimpleNamespace(content_hash="hash")
        job: Any = SimpleNamespace(fleet=fleet, store=Store.of(fleet), base=base, train=Train(**settings))
        bots = [Bot(name, [Person(name, COUNTS, 7000, 100, "digest")], version="v") for name in names]
        with Progress() as progress:
            driving.train(job, bots, progress, done=lambda bot: done.append(bot.name))
        return bots, cluster

    done: list[str] = []
    run.done = done  # type: ignore[attr-defined]
    return run


def test_every_bot_is_trained_and_reported_once(train):
    bots, cluster = train(["ada", "ben", "cleo"], train_all)
    assert [bot.status for bot in bots] == ["trained"] * 3
    assert sorted(train.done) == ["ada", "ben", "cleo"]
    assert bots[0].metrics["held_out"]["loss"] == 2.0 and bots[0].seconds == {"train": 1.5, "handover": 0.25}
    [run] = cluster.runs
    assert (run.lanes, run.node, run.config.base_model["hash"]) == (2, "here", "hash")


def test_a_number_limits_the_lanes(train):
    _, cluster = train(["ada", "ben"], train_all, lanes=1)
    assert [run.lanes for run in cluster.runs] == [1]


def test_a_bot_given_to_a_run_after_its_end_is_trained_by_another(train, monkeypatch):
    late = []

    def die_once(lane: str, config: LaneConfig, queue: Queue) -> None:
        if not late:
            queue.enter(lane)
            late.append(lane)
            raise RuntimeError("killed")
        train_all(lane, config, queue)

    leave = Queue.leave

    def leave_before_the_last_call(queue: Queue, run: str, *arguments: Any, **names: Any) -> None:
        leave(queue, run, *arguments, **names)
        if late and late[0].startswith(f"{run}/"):
            queue.take(late.pop(), next(iter(queue.waiting.by_kind)))
            late.append("taken")

    monkeypatch.setattr(Queue, "leave", leave_before_the_last_call)
    bots, _ = train(["ada"], die_once)
    assert late == ["taken"] and bots[0].status == "trained"


def test_a_run_that_dies_is_replaced_and_its_bot_trained_by_the_next(train):
    died = []

    def die_once(lane: str, config: LaneConfig, queue: Queue) -> None:
        if not died:
            queue.enter(lane)
            died.append(queue.take(lane, config.kind).task)
            raise RuntimeError("killed")
        train_all(lane, config, queue)

    bots, cluster = train(["ada"], die_once)
    assert bots[0].status == "trained" and len(cluster.runs) == 2
    assert cluster.queue.done["ada"] == trained()


def test_after_ten_runs_without_a_finished_bot_the_bots_fail_with_the_reason(train):
    def break_down(lane: str, config: LaneConfig, queue: Queue) -> None:
        queue.enter(lane)
        raise RuntimeError("no CUDA here")

    bots, cluster = train(["ada", "ben"], break_down)
    assert [(bot.status, bot.reason) for bot in bots] == [("failed", "its lanes end early: no CUDA here")] * 2
    assert len(cluster.runs) in (10, 11)  # one more may start before the driver asks the queue again


def test_a_node_whose_lanes_cannot_be_set_up_is_left_out_and_named(train, capsys):
    def broken_on_one(lane: str, config: LaneConfig, queue: Queue) -> None:
        if config.node == "bad":
            raise RuntimeError("the base model does not load: no such library")
        queue.enter(lane, config.kind, config.node)
        time.sleep(0.2)
        while (assignment := queue.take(lane, config.kind)).task or assignment.wait:
            if assignment.task:
                time.sleep(0.05)
                queue.finish(lane, assignment.task.bot, trained())

    names = [f"bot{i:02}" for i in range(12)]
    bots, cluster = train(names, broken_on_one, nodes=("bad", "good", "fine"))
    assert [bot.status for bot in bots] == ["trained"] * 12
    assert [run.node for run in cluster.runs].count("bad") == 2
    assert capsys.readouterr().err.count("node bad is left out because its lanes fail: the base model does not") == 1


def test_the_base_is_at_fault_where_three_nodes_say_so(train):
    def broken(lane: str, config: LaneConfig, queue: Queue) -> None:
        raise RuntimeError("the base model does not load")

    bots, cluster = train(["ada", "ben"], broken, nodes=("a", "b", "c", "d", "e"))
    assert {bot.reason for bot in bots} == {"its lanes end early: the base model does not load"}
    assert len(cluster.runs) <= 10


def test_many_early_deaths_on_many_nodes_give_nothing_up(train):
    """Ten spot nodes taken away, one after another, with a bot in hand each: no node is at fault."""
    deaths = []

    def die_often(lane: str, config: LaneConfig, queue: Queue) -> None:
        queue.enter(lane, config.kind, config.node)
        if len(deaths) < 20:
            deaths.append(lane)
            raise RuntimeError("taken away")
        train_all(lane, config, queue)

    bots, _ = train(["ada", "ben"], die_often, nodes=("a", "b", "c", "d"))
    assert [bot.status for bot in bots] == ["trained"] * 2 and len(deaths) == 20


def test_a_failed_bot_has_the_reason_and_the_log(train):
    def fail(lane: str, config: LaneConfig, queue: Queue) -> None:
        queue.enter(lane)
        while (assignment := queue.take(lane, config.kind)).task or assignment.wait:
            if assignment.task and assignment.task.bot == "ada":
                queue.fail(lane, "ada", "bad luck", "Traceback")
            elif assignment.task:
                queue.finish(lane, assignment.task.bot, trained())

    bots, _ = train(["ada", "ben"], fail, retries=0)
    assert [(bot.status, bot.reason, bot.log) for bot in bots] == [
        ("failed", "bad luck", "Traceback"),
        ("trained", None, ""),
    ]
    assert train.done == ["ben"]
