"""The driver's side of training: starts lanes where the cluster has room, and collects what they have trained.

    train(job, bots, progress)          # afterwards the bots have status and metrics, and their models are in the store

Bots wait in one queue, largest first (queue.py). A *run* is one TorchTrainer (lane_run.py). It is either several
lanes of one worker each on one node (lane.py), or a single lane whose workers may be on several nodes. While bots
wait, a run is started wherever there is room: on every node at the beginning, on nodes that join, and again where a
run died. Finished bots are in the store, so a later command trains only the rest.
"""

import os
import tempfile
import time
from collections.abc import Callable
from itertools import count

import ray
from ray.autoscaler.sdk import request_resources

from pipeline.core.progress import Progress
from pipeline.plan.bot import Bot
from pipeline.plan.job import Job
from pipeline.train.lane import LaneConfig
from pipeline.train.lane_run import LaneRun
from pipeline.train.node_health import SEVERAL_NODES, NodeHealth
from pipeline.train.pace import Pace, progress_text
from pipeline.train.placement import free_abandoned_places, node_resources, nodes_that_fit, place_runs, worker_resources
from pipeline.train.queue import QueueStatus
from pipeline.train.queue_actor import remote_queue, start_queue
from pipeline.train.tasks import FailedBot, Task, TrainedBot, lane_kind, with_less_memory

_POLL_SECONDS = 0.3
_PATIENCE_SECONDS = 3.0  # for the cores of an earlier step to become free, before fewer lanes are started
_JOIN_SECONDS = 30
# Ray Train's: it notices a worker's end within half a second, and starts no process that waits for preemption notices
_RAY_TRAIN = {"RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5", "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0"}


def train(job: Job, bots: list[Bot], progress: Progress, done: Callable[[Bot], None] = lambda bot: None) -> None:
    """Trains the bots and sets their status, metrics and seconds.

    `done` is called with each bot as soon as its model is in the store.
    """
    if not bots:
        return
    for name, value in _RAY_TRAIN.items():
        os.environ.setdefault(name, value)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        driver = _Driver(job, bots, progress, done, scratch)
        try:
            driver.run()
            driver.wait_for_lanes()
        finally:
            driver.end()


class _Driver:
    def __init__(self, job: Job, bots: list[Bot], progress: Progress, done: Callable[[Bot], None], scratch: str):
        self.job, self.progress, self.done, self.scratch = job, progress, done, scratch
        self.total = len(bots)
        self.left = {bot.name: bot for bot in bots}
        interrupted = set(job.store.list("work/checkpoints"))
        tasks = [_task(job, bot, has_checkpoint=bot.name in interrupted) for bot in bots]
        own = {task.kind: task.settings for task in tasks}
        # of the lanes of each kind, those for bots that turn out too large for memory included
        self.settings = {lane_kind(small): small for small in map(with_less_memory, own.values())} | own
        self.queue_actor = start_queue(tasks, job.train.retries, job.store)
        self.queue = remote_queue(self.queue_actor)
        self.queue_id, self.results_known, self.failures_known = "", 0, 0
        self.base = ray.put(job.base)
        self.runs: list[LaneRun] = []
        self.run_numbers = count()
        self.health, self.last_error = NodeHealth(), ""
        self.pace = Pace()
        self.started = time.monotonic()
        self.requested_lanes = 0  # from the cluster's autoscaler

    def run(self) -> None:
        """Starts runs and collects results until no bot is left, or nobody works on those that are."""
        self.progress.start("train", self.total, f"{self.total} bots")
        while True:
            status = self._ask_queue([run.name for run in self.runs])
            self._collect(status)
            self._reap_runs()
            if not self.left or (not status.waiting and not status.running and not self.runs):
                break
            self._give_up_kinds(status)
            self._start_runs(status)
            self._show(status)
            time.sleep(_POLL_SECONDS)
        for name, bot in self.left.items():
            bot.status, bot.reason = "failed", self.last_error or f"the queue lost {name}"
            self.progress.advance(bot=bot)

    def wait_for_lanes(self) -> None:
        """Waits until the lanes have ended, so that the next step finds their cores free."""
        for run in self.runs:
            run.join(timeout=_JOIN_SECONDS)

    def end(self) -> None:
        """Ends the queue; lanes that are still there end with their next call to it."""
        if self.requested_lanes:
            request_resources(bundles=[])
        ray.kill(self.queue_actor)

    def _ask_queue(self, runs: list[str] | None = None) -> QueueStatus:
        return self.queue.status(self.queue_id, self.results_known, self.failures_known, runs)

    def _collect(self, status: QueueStatus) -> None:
        """Sets the status and metrics of bots that have finished or failed since the last time."""
        if status.queue_id != self.queue_id:  # a restarted queue tells all its results again
            self.queue_id, self.results_known, self.failures_known = status.queue_id, 0, 0
        self.results_known += len(status.done)
        self.failures_known += len(status.failed)
        for name, trained in status.done:
            if bot := self.left.pop(name, None):
                self._finish(bot, trained)
        for name, failed in status.failed:
            if bot := self.left.pop(name, None):
                self._fail(bot, failed)

    def _finish(self, bot: Bot, trained: TrainedBot) -> None:
        bot.status, bot.metrics = "trained", trained.metrics.copy()
        bot.seconds |= {"train": trained.seconds, "handover": trained.handover}
        held_out = trained.metrics["held_out"]
        text = f"{bot.name}: held-out loss {held_out['base_loss']:.2f} → {held_out['loss']:.2f}"
        self.progress.advance(text, bot=bot)
        self.done(bot)

    def _fail(self, bot: Bot, failed: FailedBot) -> None:
        bot.status, bot.reason, bot.log = "failed", failed.reason, failed.log
        self.progress.advance(f"{bot.name} failed: {failed.reason}", bot=bot)

    def _reap_runs(self) -> None:
        """Removes finished or lost runs; those that failed count against their nodes."""
        alive = {node["NodeID"]: node.get("NodeManagerHostname", "") for node in ray.nodes() if node["Alive"]}
        ended = [run for run in self.runs if not run.is_alive() or (run.node and run.node not in alive)]
        if any(run.error for run in ended):
            free_abandoned_places()
        for run in ended:
            self.runs.remove(run)  # Ray Train gives up a run on a lost node by itself, but later
            self.queue.leave(run.name, run.died, run.error)
            if not run.error:
                self.health.run_ended_well(run.config.kind, run.config.node)
            elif self.left and not run.found_no_room:
                self.last_error = run.reason
                self._blame(run, alive)

    def _blame(self, run: LaneRun, host_names: dict[str, str]) -> None:
        """Counts a run that failed against its node, and names a node that is left out from now on."""
        node = run.config.node
        status = self._ask_queue()  # as it is now that the run has ended
        set_up, productive = run.name in status.active_runs, run.name in status.productive_runs
        if self.health.run_failed(run.config.kind, node, run.reason, set_up, productive) and node:
            name = host_names.get(node) or node
            self.progress.say(f"train: node {name} is left out because its lanes fail: {run.reason}")

    def _give_up_kinds(self, status: QueueStatus) -> None:
        """Fails the waiting bots of kinds whose lanes work on no node."""
        for kind in status.waiting:
            if not self.health.left_out(kind):
                continue
            settings = self.settings[kind]
            nodes = nodes_that_fit(settings, node_resources(free=False))
            if reason := self.health.fault_of(kind, nodes if settings.workers_per_bot == 1 else [SEVERAL_NODES]):
                self.queue.give_up(kind, f"its lanes end early: {reason}")

    def _start_runs(self, status: QueueStatus) -> None:
        """Fills the cluster with lanes, at most one for each bot that is left, the largest bots' kind first."""
        # what a run takes is known once its lanes are set up
        starting = {run.node for run in self.runs if run.name not in status.active_runs}
        if None in starting:
            return
        limit = self.job.train.lanes
        most = len(self.left) if limit == "auto" else limit - sum(run.lanes for run in self.runs)
        room = {node: free for node, free in node_resources(free=True).items() if node not in starting}
        waited = time.monotonic() - self.started
        if not self.runs and waited < _PATIENCE_SECONDS and room != node_resources(free=False):
            return
        for kind, waiting in status.waiting.items():
            healthy = {node: free for node, free in room.items() if node not in self.health.left_out(kind)}
            for lanes, node in place_runs(self.settings[kind], healthy, min(waiting, most)):
                most -= lanes
                self._start(kind, lanes, node)
        if not self.runs and not self.requested_lanes and waited > 2 * _PATIENCE_SECONDS:
            self._request_lanes(status)

    def _start(self, kind: str, lanes: int, node: str | None) -> None:
        fleet = self.job.fleet
        config = LaneConfig(
            run=f"run-{next(self.run_numbers)}",
            node=node or SEVERAL_NODES,
            queue=self.queue_actor,
            base=self.base,
            store=self.job.store,
            settings=self.settings[kind],
            kind=kind,
            dtype=fleet.publish.dtype,
            base_model={"name": fleet.base_model, "hash": self.job.base.content_hash},
        )
        run = LaneRun(config, lanes, node, self.scratch)
        self.runs.append(run)
        run.start()

    def _request_lanes(self, status: QueueStatus) -> None:
        """Asks the cluster's autoscaler for room for lanes; a cluster without one ignores it."""
        limit = self.job.train.lanes
        self.requested_lanes = 1 if limit == "auto" else min(limit, len(self.left))
        settings = self.settings[next(iter(status.waiting))]
        workers = self.requested_lanes * settings.workers_per_bot
        request_resources(bundles=[worker_resources(settings)] * workers)
        self.progress.say("train: waiting for free cores or GPUs")

    def _show(self, status: QueueStatus) -> None:
        lanes = sum(run.lanes for run in self.runs if run.name in status.active_runs)
        rate = self.pace.tokens_per_second(time.monotonic(), status.tokens_trained)
        self.progress.note(
            progress_text(lanes, len(self.left), self.failures_known, rate, status.tokens_left),
            lanes=lanes,
            queue_length=sum(status.waiting.values()),
            tokens_left=status.tokens_left,
            tokens_per_second=rate,
        )


def _task(job: Job, bot: Bot, has_checkpoint: bool) -> Task:
    limit = job.train.max_tokens
    return Task(
        bot=bot.name,
        handles=bot.handles,
        folder=bot.trained_folder,
        version=bot.version or "",
        epoch_tokens=sum(min(person.tokens, limit or person.tokens) for person in bot.people),
        settings=job.train.of(bot.name, bot.tokens),
        digests={person.handle: person.digest for person in bot.people},
        previous_version=bot.parent,
        has_checkpoint=has_checkpoint,
    )
