"""Ray Train around finetune.py: lanes, worker groups that live long and train bot after bot.

    train(job, bots, progress)          # bots' statuses and metrics are set; models are in the store

The driver's side. Bots wait in one queue, largest first (queue.py). A *run* is one TorchTrainer: it holds the
lanes of a node, each a worker that is a group of its own (lane.py), or one lane of several workers, across
nodes where needed. Runs start wherever there is room while bots wait: on every node at the beginning, on a node
that joins, again after a death. What is finished is in the store: a rerun takes up the rest.
"""

import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any, cast

import ray
import ray.train
from ray.autoscaler.sdk import request_resources
from ray.train.torch import TorchTrainer

from pipeline.core.errors import one_line
from pipeline.core.progress import Progress
from pipeline.core.ray_internals import available_resources_per_node
from pipeline.core.ray_session import capacity
from pipeline.core.settings import Train
from pipeline.plan.bot import Bot
from pipeline.plan.job import Job
from pipeline.train import lane
from pipeline.train.queue import Failure, QueueActor, Task

_POLL = 0.3  # seconds
_LANES_PER_RUN = 8  # a death ends the run: what its other lanes had in hand is trained again
_STARTS = 10  # runs in a row that end early without a bot being finished before the bots are given up
_PATIENCE = 3.0  # seconds for what an earlier step took to come free, before fewer lanes are started
_NODE = "ray.io/node-id"
# Ray Train's: news of a worker's end within half a second, and no process that waits for notice of preemption
_RAY_TRAIN = {"RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5", "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0"}


def train(job: Job, bots: list[Bot], progress: Progress, done: Callable[[Bot], None] = lambda bot: None) -> None:
    """Trains the bots and sets their status, metrics and seconds; `done` hears of each whose model is in the store."""
    if not bots:
        return
    for name, value in _RAY_TRAIN.items():
        os.environ.setdefault(name, value)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        driver = _Driver(job, bots, progress, done, scratch)
        try:
            driver.run()
            driver.wait()
        finally:
            driver.end()


@dataclass
class Pace:
    """Tokens per second, over the last while."""

    seconds: float = 60.0
    seen: list[tuple[float, float]] = field(default_factory=list)  # (time, tokens)

    def at(self, now: float, tokens: float) -> float:
        """The pace now that so many tokens are trained in all."""
        self.seen = [(then, before) for then, before in self.seen if now - then < self.seconds and before <= tokens]
        self.seen.append((now, tokens))
        then, before = self.seen[0]
        return (tokens - before) / (now - then) if now > then else 0.0


class _Driver:
    """Starts runs where there is room, hears what lanes did, tells the user."""

    def __init__(self, job: Job, bots: list[Bot], progress: Progress, done: Callable[[Bot], None], scratch: str):
        self.job, self.progress, self.done, self.scratch = job, progress, done, scratch
        self.bots = {bot.name: bot for bot in bots}
        self.left = dict(self.bots)
        begun = set(job.store.list("work/checkpoints"))
        tasks = [_task(job, bot, bot.name in begun) for bot in bots]
        self.settings = {task.kind: task.settings for task in tasks}
        self.queue: Any = (
            ray.remote(cast(Any, QueueActor))
            .options(num_cpus=0, max_restarts=-1, max_task_retries=-1, label_selector=here())
            .remote(tasks, job.train.retries, job.store)
        )
        self.base = ray.put(job.base)
        self.runs: list[_Run] = []
        self.numbers = count()
        self.born, self.heard, self.fruitless, self.error = 0.0, 0, 0, ""
        self.pace = Pace()
        self.begun = time.monotonic()
        self.asked = 0  # lanes, of the cluster's autoscaler

    def run(self) -> None:
        self.progress.start("train", len(self.bots), f"{len(self.bots)} bots")
        while True:
            news: dict[str, Any] = ray.get(self.queue.news.remote(self.born, self.heard))
            self._hear(news)
            self._bury()
            if not self.left or (not news["waiting"] and not news["running"] and not self.runs):
                break
            self._start_runs(news)
            self._tell(news)
            time.sleep(_POLL)
        for name, bot in self.left.items():
            bot.status, bot.reason = "failed", self.error or f"the queue lost {name}"
            self.progress.advance(bot=bot)

    def wait(self) -> None:
        """Until the lanes have left: whoever comes next finds their cores free."""
        for run in self.runs:
            run.join(timeout=30)

    def end(self) -> None:
        """Without the queue lanes end by themselves."""
        if self.asked:
            request_resources(bundles=[])
        ray.kill(self.queue)

    def _hear(self, news: dict[str, Any]) -> None:
        if news["born"] != self.born:
            self.born, self.heard = news["born"], 0
        self.heard += len(news["done"])
        for name, result in news["done"]:
            if bot := self.left.pop(name, None):
                bot.status, bot.metrics = "trained", result["metrics"]
                bot.seconds |= {"train": result["seconds"], "handover": result.get("handover", 0.0)}
                held_out = bot.metrics["held_out"]
                text = f"{name}: held-out loss {held_out['base_loss']:.2f} → {held_out['loss']:.2f}"
                self.progress.advance(text, bot=bot)
                self.fruitless = 0
                self.done(bot)
        for name, failure in news["failed"].items():
            if bot := self.left.pop(name, None):
                self._fail(bot, failure)

    def _fail(self, bot: Bot, failure: Failure) -> None:
        bot.status, bot.reason, bot.log = "failed", failure.reason, failure.log
        self.progress.advance(f"{bot.name} failed: {failure.reason}", bot=bot)

    def _bury(self) -> None:
        """Takes leave of runs that ended or lost their node; such as end early, time after time, end the training."""
        alive = {node["NodeID"] for node in ray.nodes() if node["Alive"]}
        for run in [run for run in self.runs if not run.is_alive() or (run.node and run.node not in alive)]:
            self.runs.remove(run)  # Ray Train gives a run on a lost node up by itself, later
            ray.get(self.queue.leave.remote(run.name, run.died, run.error))
            if run.error and self.left and not run.found_no_room:
                self.fruitless += 1
                self.error = run.reason
                if self.fruitless >= _STARTS:
                    ray.get(self.queue.give_up.remote(run.kind, f"its lanes end early: {run.reason}"))
                    self.fruitless = 0

    def _start_runs(self, news: dict[str, Any]) -> None:
        """Fills the cluster with lanes, as many as there are bots, those for the largest bots first."""
        # what a run takes is seen once its lanes are at work
        starting = {run.node for run in self.runs if run.name not in news["entered"]}
        if None in starting:
            return
        limit = self.job.train.lanes
        most = len(self.left) if limit == "auto" else limit - sum(run.lanes for run in self.runs)
        room = {node: free for node, free in _room().items() if node not in starting}
        waited = time.monotonic() - self.begun
        if not self.runs and waited < _PATIENCE and room != _room(whole=True):
            return
        for kind, waiting in news["waiting"].items():
            settings = self.settings[kind]
            for lanes, node in _places(settings, room, min(waiting, most)):
                most -= lanes
                self._start(kind, lanes, node)
        if not self.runs and not self.asked and waited > 2 * _PATIENCE:
            self._ask_for_room(news)

    def _start(self, kind: str, lanes: int, node: str | None) -> None:
        settings = self.settings[kind]
        name = f"run-{next(self.numbers)}"
        base_model = {"name": self.job.fleet.base_model, "hash": self.job.base.content_hash}
        config = lane.LaneConfig(
            name, self.queue, self.base, self.job.store, settings, kind, self.job.fleet.publish.dtype, base_model
        )
        run = _Run(config, lanes, node, self.scratch)
        self.runs.append(run)
        run.start()

    def _ask_for_room(self, news: dict[str, Any]) -> None:
        """Tells an autoscaling cluster how many lanes would be welcome; another cluster does not mind."""
        limit = self.job.train.lanes
        self.asked = 1 if limit == "auto" else min(limit, len(self.left))
        settings = self.settings[next(iter(news["waiting"]))]
        request_resources(bundles=[_worker_resources(settings)] * (self.asked * settings.workers_per_bot))
        self.progress.say("train: waiting for free cores or GPUs")

    def _tell(self, news: dict[str, Any]) -> None:
        lanes = sum(run.lanes for run in self.runs if run.name in news["entered"])
        rate = self.pace.at(time.monotonic(), news["trained"])
        self.progress.note(
            told(lanes, len(self.left), len(news["failed"]), rate, news["left"]),
            lanes=lanes,
            queue_length=sum(news["waiting"].values()),
            tokens_left=news["left"],
            tokens_per_second=rate,
        )


def _task(job: Job, bot: Bot, begun: bool) -> Task:
    digests = {person.handle: person.digest for person in bot.people}
    settings = job.train.of(bot.name, bot.tokens)
    version, tokens = bot.version or "", bot.tokens
    return Task(bot.name, bot.handles, bot.trained_folder, version, tokens, settings, digests, bot.parent, begun)


def told(lanes: int, left: int, failed: int, rate: float, tokens_left: float) -> str:
    """How far the fleet is: "2 lanes, 5 bots left, 3,120 tokens/s, 1:20 to go, 1 failed"."""
    parts = [f"{lanes} lanes", f"{left:,} bots left", f"{rate:,.0f} tokens/s"]
    if rate:
        parts.append(f"{_clock(tokens_left / rate)} to go")
    if failed:
        parts.append(f"{failed} failed")
    return ", ".join(parts)


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def here() -> dict[str, str]:
    """For an actor on the driver's node, which it lives and dies with."""
    return {_NODE: ray.get_runtime_context().get_node_id()}


def _room(whole: bool = False) -> dict[str, dict[str, float]]:
    """What cores and GPUs are free on each node that is alive; `whole`: what there is, free or not."""
    nodes = {node["NodeID"]: node["Resources"] for node in ray.nodes() if node["Alive"]}
    amounts = nodes if whole else available_resources_per_node()
    return {node: {name: amounts.get(node, {}).get(name, 0.0) for name in ("CPU", "GPU")} for node in nodes}


def _worker_resources(settings: Train) -> dict[str, float]:
    gpus, _ = capacity()
    return {"CPU": 1.0} | ({"GPU": settings.gpus_per_worker} if gpus else {})


def _places(settings: Train, room: dict[str, dict[str, float]], most: int) -> Iterator[tuple[int, str | None]]:
    """Where to start runs of up to `most` lanes in all: (lanes, node), no node for a lane that may span nodes.

    What they take is taken out of `room`.
    """
    each, workers = _worker_resources(settings), settings.workers_per_bot
    fit = {node: min(int(free.get(name, 0) / amount) for name, amount in each.items()) for node, free in room.items()}
    if workers == 1:
        for node, slots in sorted(fit.items(), key=lambda item: -item[1]):
            while (lanes := min(slots, most, _LANES_PER_RUN)) > 0:
                slots, most = slots - lanes, most - lanes
                _occupy(room[node], each, lanes)
                yield lanes, node
        return
    for _ in range(min(most, sum(fit.values()) // workers)):
        needed = workers
        for node, slots in sorted(fit.items(), key=lambda item: -item[1]):
            taken = min(slots, needed)
            fit[node], needed = slots - taken, needed - taken
            _occupy(room[node], each, taken)
        yield 1, None


def _occupy(free: dict[str, float], each: dict[str, float], workers: int) -> None:
    for name, amount in each.items():
        free[name] = free.get(name, 0) - amount * workers


class _Run(threading.Thread):
    """A run as the driver sees it: a thread that waits for its TorchTrainer."""

    def __init__(self, config: lane.LaneConfig, lanes: int, node: str | None, scratch: str):
        super().__init__(daemon=True, name=config.run)
        self.config, self.lanes, self.node, self.scratch, self.kind = config, lanes, node, scratch, config.kind
        self.error = self.reason = ""
        self.died: set[str] = set()  # lanes whose workers ended in an error of their own
        self.found_no_room = False  # somebody else was there first

    def run(self) -> None:
        try:
            self._trainer().fit()
        except Exception as error:
            failures = getattr(error, "worker_failures", {})
            self.died = {f"{self.name}/{rank // self.config.settings.workers_per_bot}" for rank in failures}
            self.error, self.reason = str(error), one_line(next(iter(failures.values()), error))
            self.found_no_room = "WorkerGroupStartupTimeoutError" in self.error

    def _trainer(self) -> TorchTrainer:
        each = _worker_resources(self.config.settings)
        return TorchTrainer(
            lane.work,
            train_loop_config={"config": self.config},
            scaling_config=cast(Any, ray.train.ScalingConfig)(
                num_workers=self.lanes * self.config.settings.workers_per_bot,
                use_gpu="GPU" in each,
                resources_per_worker=each,
                label_selector={_NODE: self.node} if self.node else None,
            ),
            run_config=ray.train.RunConfig(
                name=self.name,
                storage_path=self.scratch,
                # the driver decides whether and where to start again
                failure_config=cast(Any, ray.train.FailureConfig)(max_failures=0, controller_failure_limit=0),
            ),
        )
