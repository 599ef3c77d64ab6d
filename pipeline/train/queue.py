"""The fleet's queue: which bots wait, which lane trains which, what is done, what failed and why. Plain Python.

    queue = Queue(tasks, retries=1)
    assignment = queue.take("run-0/0", kind)
    queue.finish("run-0/0", assignment.task.bot, trained)
    queue.status(queue.id, results_known=0).done

Lanes ask it for work and report to it, the driver asks for its status. queue_actor.py makes it an actor. A lane is
named "{run}/{number}". The bots that it *has in hand* are the one that it trains and the one whose model is written.
"""

import time
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, cast

from pipeline.core import manifest
from pipeline.core.bot_files import Metrics
from pipeline.core.store import Store
from pipeline.train.tasks import RESULT_FILE, FailedBot, Task, TrainedBot, WaitingTasks, with_less_memory

LOWERED = 0.25  # of the learning rate, with which a bot whose training diverged is tried once more
_FORGIVEN_DEATHS = 4  # of workers that trained a bot, beyond the retries: mostly the machine is at fault, not the bot
_OUTAGES = 20  # of the store, after which a bot is given up; each was longer than the store's own retries
_RECOVERY_SECONDS = 5.0  # that a restarted queue waits for lanes to report what they have in hand


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
    """The bots still to train, largest first."""

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
        """Records that a lane of this kind is set up. `node`: that of its workers; empty if they are on several."""
        self.active_runs.add(_run_of(lane))
        if node:
            self.nodes.setdefault(kind, {})[_run_of(lane)] = node

    def take(self, lane: str, kind: str, in_hand: Iterable[str] | None = None) -> Assignment:
        """Gives a lane that is set up for this kind its next bot.

        Ray may deliver a call twice, so that the lane learns of one answer only. A bot that was given to the lane and
        is not among those that it has `in_hand` is given to it again.
        """
        if lane in self.stalled:
            return Assignment()
        if in_hand is not None:
            lost = next((one for one in self.running.values() if one.lane == lane and one.bot not in in_hand), None)
            if lost:
                return Assignment(lost, self.waiting.by_bot.get(self.promised.get(lane, "")))
        if time.monotonic() < self.recovering_until:
            return Assignment(wait=True)
        task = self.waiting.by_bot.get(self.promised.pop(lane, ""))
        if task is None or task.failed_in == self._place(lane):
            task = self._next(lane, kind)
        if task is None:
            return Assignment(wait=self._more_may_come(lane, kind))
        self.waiting.remove(task.bot)
        self._start(task, lane)
        upcoming = self._next(lane, kind)
        if upcoming:
            self.promised[lane] = upcoming.bot
        return Assignment(task, upcoming)

    def _more_may_come(self, lane: str, kind: str) -> bool:
        """Whether a lane for which there is no bot now should ask again: some wait or may come back.

        Those that wait all failed on this lane's node. If no lane works on another node, they may be tried here again.
        """
        left = self.waiting.by_kind.get(kind, [])
        if not set(self.nodes.get(kind, {}).values()) - {self._place(lane)}:
            for task in left:
                task.failed_in = None
        return bool(left) or any(task.kind == kind for task in self.running.values())

    def _place(self, lane: str) -> str:
        """The node of a lane; the lane's own name if its node is not known or its workers are on several."""
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
        """Takes a lane's report of the bots that it has in hand, with the tokens trained so far; a call each second.

        Returns whether the lane has to end, because it made no progress for `train.stall_minutes`.
        """
        self.enter(lane, kind, node)  # a restarted queue does not know the lane
        recovering = time.monotonic() < self.recovering_until
        for bot, tokens in in_hand.items():
            if recovering and (task := self.waiting.remove(bot)):  # it was given to the lane before the restart
                self._start(task, lane)
            if bot in self.running:
                if tokens != self.tokens_trained.get(bot):
                    self.running[bot].progress_at = time.monotonic()
                self.tokens_trained[bot] = tokens
        return lane in self.stalled

    def _start(self, task: Task, lane: str) -> None:
        self.running[task.bot], task.lane, task.progress_at = task, lane, time.monotonic()

    def _end_stalled_lanes(self) -> None:
        """Puts bots that make no progress back in the queue; their lanes end with their next report if they can."""
        now = time.monotonic()
        for task in list(self.running.values()):
            if now - task.progress_at > 60 * task.settings.stall_minutes:
                self.stalled.add(task.lane)
                self._count_death(task, f"no step for {task.settings.stall_minutes:g} minutes")

    def finish(self, lane: str, bot: str, trained: TrainedBot) -> None:
        """Records that a bot's model is in the store."""
        self.productive_runs.add(_run_of(lane))
        self.running.pop(bot, None)
        self.waiting.remove(bot)
        self.failed.pop(bot, None)
        totals = trained.metrics.get("train", {})  # a bot published long ago may lack it
        self.tokens_trained[bot] = totals.get("tokens", 0)
        self.done.setdefault(bot, trained)

    def fail(self, lane: str, bot: str, reason: str, log: str = "") -> None:
        """Records that a bot failed in a lane: it is tried again `retries` times, then given up."""
        if task := self._return(lane, bot):
            task.failures, task.failed_in = task.failures + 1, self._place(lane)
            if task.failures > self.retries:
                self._give_up(task, reason, log)

    def out_of_memory(self, lane: str, bot: str, reason: str, log: str = "") -> None:
        """Records that memory ran out: the bot is tried with its batches in more parts, then with checkpointing.

        That counts as a failure only where the bot was trained block by block with gradient checkpointing already.
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
        """Records that the store could not be reached: the bot waits again. Only after many times it is a failure."""
        if (task := self.running.get(bot)) and task.outages >= _OUTAGES:
            self.fail(lane, bot, reason, log)
        elif task:
            self._return(lane, bot, outages=task.outages + 1)

    def diverged(self, lane: str, bot: str, reason: str, log: str = "") -> None:
        """Records a loss that was no number: the bot is tried once more, at a lower rate.

        At the same rate it would end the same way.
        """
        if (task := self.running.get(bot)) and task.rate_factor == 1:
            self._return(lane, bot, rate_factor=LOWERED)
        elif task := self._return(lane, bot):
            self._give_up(task, f"{reason}, also with {LOWERED:g} of the learning rate", log)

    def leave(self, run: str, died: Iterable[str], reason: str) -> None:
        """Records that a run has ended: what its lanes had in hand waits again.

        `died`: those of its lanes whose workers died, for `reason`, which counts against the bots they trained.
        """
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
        """Counts a worker that died or hung while it trained this bot, which waits again or is given up."""
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
        """The status, with the results and failures that the driver does not know yet; ends lanes that hang.

        `queue_id`, `results_known` and `failures_known`: the queue that the driver asked last, and how many of each it
        knows from it. `runs`: the runs that exist. What lanes of other runs have in hand waits again: a call of theirs
        may arrive after their `leave` where the queue was restarted meanwhile.
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
        """After a restart, learns from the store what is done; the lanes then report what they have in hand."""
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
