"""The fleet's queue: which bots wait, which lane has which, what is done, what failed and why. Plain Python.

    queue = Queue(tasks, retries=1)
    assignment = queue.take("run-0/0", kind)
    queue.finish("run-0/0", assignment.task.bot, trained)
    queue.status(queue.id, results_known=0).done

Lanes ask it for work and report to it, the driver asks for its status. queue_actor.py makes it an actor.
"""

import json
import time
import uuid
from bisect import bisect_left, insort
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from itertools import islice
from typing import Any, cast

from pipeline.core import manifest
from pipeline.core.bot_files import Metrics
from pipeline.core.settings import Train
from pipeline.core.store import Store

RESULT_FILE = "training.json"  # in a trained bot's folder: its TrainedBot
LOWERED = 0.25  # of the learning rate, with which a bot whose training diverged is tried once more
_FORGIVEN_DEATHS = 4  # of workers that trained a bot, beyond the retries: machines die more often than bots kill
_OUTAGES = 20  # of the store, each longer than its retries bridge, after which a bot is given up
_RECOVERY_SECONDS = 5.0  # in which lanes report to a restarted queue what they have in hand
# settings that a lane is set up with; a lane trains only bots that agree in them
_LANE_SETTINGS = {"workers_per_bot", "gpus_per_worker", "zero_stage", "precision", "gradient_checkpointing", "compile"}
_LANE_SETTINGS |= {"freeze_layers", "lora"}


@dataclass
class Task:
    """One bot's training. The queue keeps it, and lanes get copies."""

    bot: str
    handles: list[str]
    folder: str  # in the store: where the model goes
    version: str
    epoch_tokens: int
    settings: Train
    digests: dict[str, str] = field(default_factory=dict)  # a hash of each person's tweets, by handle
    previous_version: str = ""  # to continue from; empty: start from the base
    has_checkpoint: bool = False  # whether there may be one
    micro_batches: int = 1  # parts of each batch; doubled where memory ran out
    rate_factor: float = 1.0  # of the recipe's learning rate; LOWERED after the training diverged
    failures: int = 0
    outages: int = 0  # of the store while it was in hand
    deaths: int = 0  # of workers that were training it
    progress_at: float = 0.0  # a time.monotonic(): when it was given out, or when its last step was reported
    lane: str = ""  # that has it in hand
    failed_in: str | None = None  # the place of its last failure: a node, or a lane where its node is not known

    @cached_property
    def kind(self) -> str:
        """The kind of its lane."""
        return lane_kind(self.settings)

    @property
    def total_tokens(self) -> int:
        """Tokens to train on, over all epochs."""
        return self.epoch_tokens * self.settings.epochs

    @property
    def previous_folder(self) -> str:
        """The folder of the version to continue from, in the store."""
        return f"bots/{self.bot}/{self.previous_version}"


def lane_kind(settings: Train) -> str:
    """The settings that a lane must be set up with to train a bot with these settings, as JSON."""
    return json.dumps(settings.model_dump(include=_LANE_SETTINGS), sort_keys=True)


def with_less_memory(settings: Train) -> Train:
    """The settings for a bot that does not fit into memory even block by block."""
    return settings.model_copy(update={"gradient_checkpointing": True})


@dataclass(frozen=True)
class TrainedBot:
    """What a lane reports of a bot whose model is in the store; also the content of `RESULT_FILE`."""

    metrics: Metrics
    seconds: float  # of training, held-out losses included
    handover: float = 0.0  # seconds from the lane's last bot to this one

    def to_json(self) -> bytes:
        """The content of `RESULT_FILE`."""
        return json.dumps(asdict(self)).encode()


@dataclass(frozen=True)
class FailedBot:
    """Why a bot was given up."""

    reason: str
    log: str = ""  # the last lines of the traceback


@dataclass(frozen=True)
class Assignment:
    """The answer to a lane that asks for work: a task; or `wait`, and ask again; or neither, and end."""

    task: Task | None = None
    upcoming: Task | None = None  # probably the next one: the lane may load its data already
    wait: bool = False


@dataclass(frozen=True)
class QueueStatus:
    """What the driver learns when it asks."""

    queue_id: str  # another one after the queue was restarted
    done: list[tuple[str, TrainedBot]]  # the results that the driver does not know yet, by bot
    failed: list[tuple[str, FailedBot]]  # the failures that the driver does not know yet
    waiting: dict[str, int]  # bots of each kind, the kind of the largest bot first
    running: int  # bots in hand of lanes
    active_runs: set[str]  # runs with a lane that is set up
    productive_runs: set[str]  # runs that have finished a bot
    tokens_trained: float
    tokens_left: float


class Queue:
    """The bots still to train, largest first. A lane is named "{run}/{number}"."""

    def __init__(self, tasks: list[Task], retries: int):
        """`retries`: how often a bot that failed is tried again."""
        self.id = uuid.uuid4().hex
        self.waiting = WaitingTasks(tasks)
        self.retries = retries
        self.running: dict[str, Task] = {}  # by bot; a lane may have one in training and one that is being written
        self.done: dict[str, TrainedBot] = {}
        self.failed: dict[str, FailedBot] = {}
        self.failures: list[tuple[str, FailedBot]] = []  # in the order in which bots were given up
        self.tokens_trained: dict[str, float] = {}  # by bot
        self.promised: dict[str, str] = {}  # the bot whose data a lane loads ahead, by lane
        self.active_runs: set[str] = set()
        self.productive_runs: set[str] = set()
        self.nodes: dict[str, dict[str, str]] = {}  # by kind and run, of runs with a lane that is set up
        self.stalled: set[str] = set()  # lanes that have to end
        self.recovering_until = 0.0  # a time.monotonic(); see `recover`

    def enter(self, lane: str, kind: str = "", node: str = "") -> None:
        """A lane of this kind is set up on a node, if its workers are on one."""
        self.active_runs.add(_run_of(lane))
        if node:
            self.nodes.setdefault(kind, {})[_run_of(lane)] = node

    def take(self, lane: str, kind: str, in_hand: Iterable[str] | None = None) -> Assignment:
        """Gives a lane that is set up for this kind its next bot.

        A call may be delivered twice. What the lane was given without learning of it is not among the bots that it has
        `in_hand`, and is given again.
        """
        if lane in self.stalled:
            return Assignment()
        if in_hand is not None:
            lost = next((one for one in self.running.values() if one.lane == lane and one.bot not in in_hand), None)
            if lost:
                return Assignment(lost, self.waiting.by_bot.get(self.promised.get(lane, "")))
        if time.monotonic() < self.recovering_until:
            return Assignment(wait=True)
        task, place = self.waiting.by_bot.get(self.promised.pop(lane, "")), self._place(lane)
        if task is None or task.failed_in == place:
            task = self._next(lane, kind)
        if task is None:
            left = self.waiting.by_kind.get(kind, [])
            if not set(self.nodes.get(kind, {}).values()) - {place}:  # which would take them
                for one in left:  # all failed in this place: other lanes get a moment to take them first
                    one.failed_in = None
            return Assignment(wait=bool(left) or any(task.kind == kind for task in self.running.values()))
        self.waiting.remove(task.bot)
        self._start(task, lane)
        upcoming = self._next(lane, kind)
        if upcoming:
            self.promised[lane] = upcoming.bot
        return Assignment(task, upcoming)

    def _place(self, lane: str) -> str:
        """The node of a lane; where it is not known, or the lane's workers are on several, the lane itself."""
        run = _run_of(lane)
        return next((nodes[run] for nodes in self.nodes.values() if run in nodes), lane)

    def _next(self, lane: str, kind: str) -> Task | None:
        """The first bot that did not fail on this lane's node; while many wait, one that no other lane loads ahead."""
        tasks, promised = self.waiting.by_kind.get(kind, []), set(self.promised.values())
        if len(tasks) <= 2 * len(promised):
            promised.clear()
        place = self._place(lane)
        return next((task for task in tasks if task.failed_in != place and task.bot not in promised), None)

    def report(self, lane: str, in_hand: dict[str, float], kind: str = "", node: str = "") -> bool:
        """Every second or so: the bots that a lane has in hand, with the tokens trained so far; and as in `enter`.

        Returns whether the lane has to end, because it made no progress for `train.stall_minutes`.
        """
        self.enter(lane, kind, node)  # of which a restarted queue does not know
        recovering = time.monotonic() < self.recovering_until
        for bot, tokens in in_hand.items():
            if recovering and (task := self.waiting.remove(bot)):  # this queue gave it to the lane before it died
                self._start(task, lane)
            if bot in self.running:
                if tokens != self.tokens_trained.get(bot):
                    self.running[bot].progress_at = time.monotonic()
                self.tokens_trained[bot] = tokens
        return lane in self.stalled

    def _start(self, task: Task, lane: str) -> None:
        self.running[task.bot], task.lane, task.progress_at = task, lane, time.monotonic()

    def _end_stalled_lanes(self) -> None:
        """Takes the bots that make no progress from their lanes, which end with their next report if they can."""
        now = time.monotonic()
        for task in list(self.running.values()):
            if now - task.progress_at > 60 * task.settings.stall_minutes:
                self.stalled.add(task.lane)
                self._count_death(task, f"no step for {task.settings.stall_minutes:g} minutes")

    def finish(self, lane: str, bot: str, trained: TrainedBot) -> None:
        """A bot's model is in the store."""
        self.productive_runs.add(_run_of(lane))
        self.running.pop(bot, None)
        self.waiting.remove(bot)
        self.failed.pop(bot, None)
        totals = trained.metrics.get("train", {})  # a bot published long ago may lack it
        self.tokens_trained[bot] = totals.get("tokens", 0)
        self.done.setdefault(bot, trained)

    def fail(self, lane: str, bot: str, reason: str, log: str = "") -> None:
        """A bot failed in a lane: it waits for another try, or is given up after `retries` of them."""
        if task := self._return(lane, bot):
            task.failures, task.failed_in = task.failures + 1, self._place(lane)
            if task.failures > self.retries:
                self._give_up(task, reason, log)

    def out_of_memory(self, lane: str, bot: str, reason: str, log: str = "") -> None:
        """Memory ran out: the bot is tried with its batches in more parts, at last with gradient checkpointing.

        That is no failure. With one block at a time and gradient checkpointing it is.
        """
        task = self.running.get(bot)
        if task is None or task.lane != lane:
            return
        if task.micro_batches < task.settings.batch_size:
            self._return(lane, bot, micro_batches=min(2 * task.micro_batches, task.settings.batch_size))
        elif not task.settings.gradient_checkpointing:
            self._return(lane, bot, settings=with_less_memory(task.settings))
        else:
            self.fail(lane, bot, reason, log)

    def postpone(self, lane: str, bot: str, reason: str, log: str = "") -> None:
        """The store could not be reached: the bot waits again. That is no failure, as long as the store comes back."""
        if (task := self.running.get(bot)) and task.outages >= _OUTAGES:
            self.fail(lane, bot, reason, log)
        elif task:
            self._return(lane, bot, outages=task.outages + 1)

    def diverged(self, lane: str, bot: str, reason: str, log: str = "") -> None:
        """A loss was no number: the bot is tried once more, at a lower rate; the same rate would end the same way."""
        if (task := self.running.get(bot)) and task.rate_factor == 1:
            self._return(lane, bot, rate_factor=LOWERED)
        elif task := self._return(lane, bot):
            self._give_up(task, f"{reason}, also with {LOWERED:g} of the learning rate", log)

    def leave(self, run: str, died: Iterable[str], reason: str) -> None:
        """A run has ended: what its lanes had in hand waits again; the lanes in `died` count against their bots."""
        died = set(died)
        for task in [task for task in self.running.values() if _run_of(task.lane) == run]:
            if task.lane in died:
                self._count_death(task, reason)
            else:
                self._return(task.lane, task.bot, has_checkpoint=True)
        self.promised = {lane: bot for lane, bot in self.promised.items() if _run_of(lane) != run}
        for nodes in self.nodes.values():
            nodes.pop(run, None)

    def _count_death(self, task: Task, log: str) -> None:
        """The worker that trained this bot died or hangs: the bot waits again, or is given up after several."""
        deaths = task.deaths + 1
        self._return(task.lane, task.bot, has_checkpoint=True, deaths=deaths)
        if deaths > self.retries + _FORGIVEN_DEATHS:
            self._give_up(task, f"each of {deaths} workers that trained it died", log)

    def give_up(self, kind: str, reason: str) -> None:
        """Fails the waiting bots of a kind for which no lane can be set up."""
        for task in list(self.waiting.by_kind.get(kind, [])):
            self._give_up(task, reason)

    def _return(self, lane: str, bot: str, **changes: Any) -> Task | None:
        """Puts a bot that this lane has in hand back among those that wait; None if it has it no longer.

        `changes`: fields of the task that are different from now on.
        """
        if bot not in self.running or self.running[bot].lane != lane:
            return None
        task = replace(self.running.pop(bot), **changes)
        self.tokens_trained.pop(bot, None)
        self.waiting.add(task)
        return task

    def _give_up(self, task: Task, reason: str, log: str = "") -> None:
        self.waiting.remove(task.bot)
        self.failed[task.bot] = FailedBot(reason, log)
        self.failures.append((task.bot, self.failed[task.bot]))

    def status(
        self, queue_id: str, results_known: int, failures_known: int = 0, runs: Iterable[str] | None = None
    ) -> QueueStatus:
        """For a driver that knows the first results and the first failures of the queue with this id.

        `runs`: the runs that exist. What lanes of others have in hand waits again: a call of theirs may arrive after
        their `leave` where the queue was restarted meanwhile. Bots that make no progress are taken from their lanes.
        """
        self._end_stalled_lanes()
        is_known = queue_id == self.id
        if runs is not None:
            known = {_run_of(task.lane) for task in self.running.values()}.union(*self.nodes.values())
            for ended in known - set(runs):
                self.leave(ended, died=(), reason="")
        running = self.running.values()
        left = sum(task.total_tokens - self.tokens_trained.get(task.bot, 0) for task in running)
        return QueueStatus(
            queue_id=self.id,
            done=list(islice(self.done.items(), results_known if is_known else 0, None)),
            failed=self.failures[failures_known if is_known else 0 :],
            waiting=self.waiting.counts(),
            running=len(self.running),
            active_runs=self.active_runs,
            productive_runs=self.productive_runs,
            tokens_trained=sum(self.tokens_trained.values()),
            tokens_left=self.waiting.total_tokens + left,
        )

    def recover(self, store: Store) -> None:
        """After a restart: what is in the store is done; lanes then report what they have in hand."""
        tasks = list(self.waiting.by_bot.values())
        trained = set(store.list("work/trained"))  # first: what is published meanwhile is in one of the two
        in_use = manifest.published(store, [task.bot for task in tasks])
        finished = {task.bot: task.version for task in tasks if in_use.get(task.bot) == task.version}
        metrics = manifest.files(store, finished, "metrics.json")
        results = store.map(lambda task: _stored_result(store, task, task.bot in trained, metrics), tasks)
        for task, result in zip(tasks, results, strict=True):
            if result:
                self.finish("", task.bot, result)
        for task in self.waiting.by_bot.values():
            task.has_checkpoint = True
        self.recovering_until = time.monotonic() + _RECOVERY_SECONDS


class WaitingTasks:
    """Tasks in the order in which they are given out: by kind, the bot with the most tokens first.

    Bots whose workers died twice come last, so that one that kills its workers holds up no others.
    """

    def __init__(self, tasks: Iterable[Task]):
        self.by_kind: dict[str, list[Task]] = {}
        self.by_bot: dict[str, Task] = {}
        self.total_tokens = 0
        for task in sorted(tasks, key=_order):
            self.by_kind.setdefault(task.kind, []).append(task)
            self.by_bot[task.bot] = task
            self.total_tokens += task.total_tokens

    def add(self, task: Task) -> None:
        """Puts a task in its place."""
        insort(self.by_kind.setdefault(task.kind, []), task, key=_order)
        self.by_bot[task.bot] = task
        self.total_tokens += task.total_tokens

    def remove(self, bot: str) -> Task | None:
        """Takes a bot's task out; None if it does not wait."""
        task = self.by_bot.pop(bot, None)
        if task is not None:
            tasks = self.by_kind[task.kind]
            del tasks[bisect_left(tasks, _order(task), key=_order)]
            self.total_tokens -= task.total_tokens
        return task

    def counts(self) -> dict[str, int]:
        """How many tasks of each kind wait, the kind of the largest bot first."""
        kinds = [kind for kind, tasks in self.by_kind.items() if tasks]
        return {kind: len(self.by_kind[kind]) for kind in sorted(kinds, key=lambda k: _order(self.by_kind[k][0]))}


def _order(task: Task) -> tuple[bool, int, str]:
    return task.deaths > 1, -task.total_tokens, task.bot


def _run_of(lane: str) -> str:
    return lane.partition("/")[0]


def _stored_result(store: Store, task: Task, trained: bool, metrics: dict[str, Any]) -> TrainedBot | None:
    """The result of a bot that an earlier queue finished: in its `trained` folder, or published since."""
    result = store.read_json(f"{task.folder}/{RESULT_FILE}") if trained and task.bot not in metrics else {}
    if result:
        return TrainedBot(result["metrics"], result["seconds"], result.get("handover", 0.0))
    found = metrics.get(task.bot)
    if trained and not found and store.current_version(task.bot) == task.version:  # published a moment ago
        found = store.read_json(f"bots/{task.bot}/{task.version}/metrics.json")
    return TrainedBot(cast(Metrics, found), found.get("train", {}).get("seconds", 0.0)) if found else None
