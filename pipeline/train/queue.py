"""The fleet's queue: which bots wait, which lane has which, what is done, what failed and why.

    queue = Queue(tasks, retries=1)
    task, upcoming = queue.take("run-0/0", kind)
    queue.finish("run-0/0", task.bot, result)

Plain Python. As `QueueActor` it is asked by lanes for work and by the driver for news. Ray starts it again
where it dies; it then finds in the store what is finished, and hears from the lanes' reports what they have.
"""

import json
import time
from bisect import bisect_left, insort
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from typing import Any

import ray

from pipeline.core.settings import Train
from pipeline.core.store import Store

_DEATHS = 4  # of its worker that a bot is forgiven beyond the retries: machines die more often than bots kill
_RETURN_SECONDS = 5.0  # for the lanes to tell a queue that died what they have
_LANE_SETTINGS = {"workers_per_bot", "gpus_per_worker", "zero_stage", "precision", "gradient_checkpointing", "compile"}
_LANE_SETTINGS |= {"freeze_layers", "lora"}  # what trains is what DeepSpeed is set up for


@dataclass
class Task:
    """One bot's training, as the queue hands it out."""

    bot: str
    handles: list[str]
    folder: str  # in the store: where the model goes
    version: str
    tokens: int  # of an epoch
    settings: Train
    digests: dict[str, str] = field(default_factory=dict)  # of each person's tweets
    last: str = ""  # the version to go on from
    resumes: bool = False  # there may be a checkpoint of it
    parts: int = 1  # micro-batches of a batch: more of them where memory ran out
    failures: int = 0
    deaths: int = 0  # of workers that were training it
    lane: str = ""  # that has it
    avoid: str | None = None  # the lane it failed in

    @cached_property
    def kind(self) -> str:
        """What the lane that trains it must be set up for."""
        return json.dumps(self.settings.model_dump(include=_LANE_SETTINGS), sort_keys=True)

    @property
    def work(self) -> int:
        """Tokens to train on, all epochs."""
        return self.tokens * self.settings.epochs

    @property
    def last_folder(self) -> str:
        return f"bots/{self.bot}/{self.last}"


@dataclass
class Failure:
    reason: str
    log: str = ""  # its tail


class Waiting:
    """Tasks in the order they are given out: by kind, largest first."""

    def __init__(self, tasks: Iterable[Task]):
        self.by_kind: dict[str, list[Task]] = {}
        self.by_bot: dict[str, Task] = {}
        self.work = 0
        for task in sorted(tasks, key=_order):
            self.by_kind.setdefault(task.kind, []).append(task)
            self.by_bot[task.bot] = task
            self.work += task.work

    def add(self, task: Task) -> None:
        insort(self.by_kind.setdefault(task.kind, []), task, key=_order)
        self.by_bot[task.bot] = task
        self.work += task.work

    def remove(self, bot: str) -> Task | None:
        """Takes a bot's task out, if it waits."""
        task = self.by_bot.pop(bot, None)
        if task is not None:
            tasks = self.by_kind[task.kind]
            del tasks[bisect_left(tasks, _order(task), key=_order)]
            self.work -= task.work
        return task

    def counts(self) -> dict[str, int]:
        """How many of each kind, that of the largest bot first."""
        kinds = sorted(
            (kind for kind, tasks in self.by_kind.items() if tasks), key=lambda k: _order(self.by_kind[k][0])
        )
        return {kind: len(self.by_kind[kind]) for kind in kinds}


def _order(task: Task) -> tuple[int, str]:
    return -task.work, task.bot


class Queue:
    """The bots still to train, largest first. A lane is named "{run}/{number}"."""

    def __init__(self, tasks: list[Task], retries: int):
        self.waiting = Waiting(tasks)
        self.retries = retries
        self.running: dict[str, Task] = {}  # by bot; a lane may have one in training and one being written
        self.done: dict[str, dict[str, Any]] = {}
        self.failed: dict[str, Failure] = {}
        self.trained: dict[str, float] = {}  # tokens so far, by bot
        self.promised: dict[str, str] = {}  # the bot whose data a lane loads ahead, by lane
        self.entered: set[str] = set()  # runs of which a lane is at work
        self.returning_until = 0.0  # after a death, the time for lanes to say what they have
        self.born = time.time()

    def enter(self, lane: str) -> None:
        """A lane says that it is set up."""
        self.entered.add(_run_of(lane))

    def take(self, lane: str, kind: str) -> "tuple[Task | str | None, Task | None]":
        """A lane's next bot and the one it may prepare for; "wait" where one may still come, None at the end."""
        if time.monotonic() < self.returning_until:
            return "wait", None
        promise = self.promised.pop(lane, None)
        task = self.waiting.by_bot.get(promise or "")
        if task is None or task.avoid == lane:
            task = self._next(lane, kind)
        if task is None:
            mine = self.waiting.by_kind.get(kind, [])
            for one in mine:  # all failed in this lane: others get a moment to take them first
                one.avoid = None
            more = mine or any(task.kind == kind for task in self.running.values())
            return ("wait" if more else None), None
        self.waiting.remove(task.bot)
        self.running[task.bot], task.lane = task, lane
        upcoming = self._next(lane, kind)
        if upcoming:
            self.promised[lane] = upcoming.bot
        return task, upcoming

    def _next(self, lane: str, kind: str) -> Task | None:
        """The largest that did not fail in this lane; while there are many, one that no other lane prepares for."""
        mine, promised = self.waiting.by_kind.get(kind, []), set(self.promised.values())
        if len(mine) <= 2 * len(promised):
            promised.clear()
        return next((task for task in mine if task.avoid != lane and task.bot not in promised), None)

    def report(self, lane: str, held: dict[str, float]) -> None:
        """Every second or so: the bots a lane has, with the tokens trained so far."""
        self.entered.add(_run_of(lane))
        returning = time.monotonic() < self.returning_until
        for bot, tokens in held.items():
            if returning and (task := self.waiting.remove(bot)):  # this queue gave it away before it died
                self.running[bot], task.lane = task, lane
            if bot in self.running:
                self.trained[bot] = tokens

    def finish(self, lane: str, bot: str, result: dict[str, Any]) -> None:
        """A bot's model is in the store."""
        self.running.pop(bot, None)
        self.waiting.remove(bot)
        self.failed.pop(bot, None)
        self.trained[bot] = result.get("metrics", {}).get("train", {}).get("tokens", 0)
        self.done.setdefault(bot, result)

    def fail(self, lane: str, bot: str, reason: str, log: str = "") -> None:
        """Counts a failure; the bot waits for another try, or is reported."""
        if task := self._back(lane, bot):
            task.failures, task.avoid = task.failures + 1, lane
            if task.failures > self.retries:
                self._give_up(task, reason, log)

    def split(self, lane: str, bot: str, parts: int) -> None:
        """Memory ran out: the bot comes back, to be tried in smaller micro-batches."""
        if task := self._back(lane, bot):
            task.parts = parts

    def leave(self, run: str, died: Iterable[str], reason: str) -> None:
        """A run is gone. What its lanes had waits again; it counts for the bots of the lanes that `died`."""
        died = set(died)
        for task in [task for task in self.running.values() if _run_of(task.lane) == run]:
            self._back(task.lane, task.bot)
            task.resumes = True
            task.deaths += task.lane in died
            if task.deaths > self.retries + _DEATHS:
                self._give_up(task, f"each of {task.deaths} workers that trained it died", reason)
        self.promised = {lane: bot for lane, bot in self.promised.items() if _run_of(lane) != run}

    def give_up(self, kind: str, reason: str) -> None:
        """No lane can train the bots of this kind that wait."""
        for task in list(self.waiting.by_kind.get(kind, [])):
            self._give_up(task, reason)

    def _back(self, lane: str, bot: str) -> Task | None:
        """A bot that a lane had waits again, in its place; None where this lane has it no more."""
        if bot not in self.running or self.running[bot].lane != lane:
            return None
        task = self.running.pop(bot)
        self.trained.pop(bot, None)
        self.waiting.add(task)
        return task

    def _give_up(self, task: Task, reason: str, log: str = "") -> None:
        self.waiting.remove(task.bot)
        self.failed[task.bot] = Failure(reason, log)

    def news(self, born: float, done: int) -> dict[str, Any]:
        """For the driver, which knows the first `done` results of the queue that was `born` then."""
        running = self.running.values()
        return {
            "born": self.born,
            "done": list(islice(self.done.items(), done if born == self.born else 0, None)),
            "failed": self.failed,
            "waiting": self.waiting.counts(),
            "running": len(self.running),
            "entered": self.entered,
            "trained": sum(self.trained.values()),
            "left": self.waiting.work + sum(task.work - self.trained.get(task.bot, 0) for task in running),
        }

    def recover(self, store: Store) -> None:
        """After a death: what the store holds is done; what lanes hold they will say."""
        trained = set(store.list("work/trained"))
        published = trained | set(store.list("bots"))  # what is published just now may have been listed as trained
        for task in list(self.waiting.by_bot.values()):
            task.resumes = True
            result: dict[str, Any] = {}
            if task.bot in trained:
                result = store.read_json(f"{task.folder}/training.json")
            if not result and task.bot in published and store.current_version(task.bot) == task.version:
                metrics = store.read_json(f"bots/{task.bot}/{task.version}/metrics.json")
                result = {"metrics": metrics, "seconds": metrics.get("train", {}).get("seconds", 0.0)}
            if result:
                self.finish("", task.bot, result)
        self.returning_until = time.monotonic() + _RETURN_SECONDS


class QueueActor(Queue):
    """The queue as a Ray actor."""

    def __init__(self, tasks: list[Task], retries: int, store: Store):
        super().__init__(tasks, retries)
        if ray.get_runtime_context().was_current_actor_reconstructed:
            self.recover(store)


def _run_of(lane: str) -> str:
    return lane.partition("/")[0]
