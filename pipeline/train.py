"""Ray Train around finetune.py: lanes, each one long-lived worker group that trains bot after bot.

    train(job, bots, progress)          # bots' statuses and metrics are set; models are in the store

A lane is one TorchTrainer: it starts its process(es), loads the base and sets up DeepSpeed once, then takes
bots from a shared queue, largest first, resets the weights in place, trains, measures the held-out loss and
hands the model over to a thread that writes it. A bot that fails is tried again, in another lane where
there is one, then reported; the lane goes on. What is finished is in the store: a rerun takes up the rest.
"""

import json
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import ray
import ray.train
from ray.train.torch import TorchTrainer

from pipeline import finetune, model, provenance
from pipeline.errors import UserError, one_line
from pipeline.measures.held_out import summary
from pipeline.plan import Bot, Job
from pipeline.prepare import load_tweets
from pipeline.progress import Progress
from pipeline.settings import Train
from pipeline.store import Store

_STARTS = 4  # a lane that starts this often without finishing a bot gives up
_POLL = 0.3  # seconds
_PROGRESS_STEPS = 5


@dataclass
class Task:
    """One bot's training, as the queue hands it out."""

    bot: str
    handles: list[str]
    folder: str  # in the store: where the model goes
    version: str
    tokens: int
    digests: dict[str, str] = field(default_factory=dict)  # of each person's tweets
    failures: int = 0
    lane: str = ""  # that has it
    avoid: str | None = None  # the lane it failed in


class Queue:
    """The bots still to train; a Ray actor that lanes ask for work and the driver for news."""

    def __init__(self, tasks: list[Task], retries: int):
        self.waiting = sorted(tasks, key=lambda task: (-task.tokens, task.bot))
        self.retries = retries
        self.running: dict[str, Task] = {}  # by bot; a lane may have one in training and one being written
        self.done: dict[str, dict[str, Any]] = {}
        self.failed: dict[str, str] = {}
        self.tokens: dict[str, float] = {}  # trained so far, by bot
        self.starts: dict[str, int] = {}  # of each lane, since it last finished a bot

    def enter(self, lane: str) -> bool:
        """A lane says that it starts (again); False tells it to give up."""
        self.leave(lane)
        self.starts[lane] = self.starts.get(lane, 0) + 1
        return self.starts[lane] <= _STARTS

    def leave(self, lane: str) -> None:
        """A lane is gone, or starts anew: what it had counts as failed."""
        for task in [task for task in self.running.values() if task.lane == lane]:
            self.fail(lane, task.bot, "the worker that trained it died")

    def give_up(self, reason: str) -> None:
        """No lane can train any of the bots that wait."""
        self.failed |= {task.bot: reason for task in self.waiting}
        self.waiting = []

    def take(self, lane: str) -> Task | str | None:
        """The next bot for a lane, "wait" where one may still come back, or None at the end."""
        for task in self.waiting:
            if task.avoid != lane:
                self.waiting.remove(task)
                self.running[task.bot], task.lane = task, lane
                return task
        for task in self.waiting:  # all failed in this lane: others get a moment to take them first
            task.avoid = None
        return "wait" if self.waiting or self.running else None

    def finish(self, lane: str, bot: str, result: dict[str, Any]) -> None:
        self.running.pop(bot, None)
        self.starts[lane] = 0
        self.done[bot] = result

    def fail(self, lane: str, bot: str, reason: str) -> None:
        """Counts a failure; the bot waits for another try, or is reported."""
        task = self.running.pop(bot)
        task.failures, task.avoid = task.failures + 1, lane
        self.tokens.pop(bot, None)
        if task.failures > self.retries:
            self.failed[bot] = reason
        else:
            self.waiting.append(task)

    def step(self, bot: str, tokens: float) -> None:
        self.tokens[bot] = tokens

    def news(self) -> dict[str, Any]:
        return {
            "done": self.done,
            "failed": self.failed,
            "tokens": sum(self.tokens.values()),
        }


@dataclass(frozen=True)
class LaneConfig:
    """What a lane gets, whole: nothing in it assumes a shared disk."""

    lane: str
    queue: Any
    base: Any  # object reference to the base model's files
    store: Store
    settings: Train
    dtype: str
    base_model: dict[str, str]  # its name and its content's hash


def train(job: Job, bots: list[Bot], progress: Progress, done: Callable[[Bot], None] = lambda bot: None) -> None:
    """Trains the bots and sets their status, metrics and seconds; `done` hears of each whose model is in the store."""
    if not bots:
        return
    tasks, by_name = [_task(bot) for bot in bots], {bot.name: bot for bot in bots}
    queue: Any = ray.remote(cast(Any, Queue)).options(num_cpus=0, max_concurrency=1).remote(tasks, job.train.retries)
    base, about = ray.put(job.base), {"name": job.fleet.base_model, "hash": job.base_hash}
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        lanes = [
            _Lane(LaneConfig(f"lane-{i}", queue, base, job.store, job.train, job.fleet.publish.dtype, about), scratch)
            for i in range(_lane_count(job.train, len(bots)))
        ]
        progress.start("train", len(bots), f"{len(bots)} bots in {len(lanes)} lanes")
        for lane in lanes:
            lane.start()
        seen: set[str] = set()
        while True:
            alive = any(lane.is_alive() for lane in lanes)
            news: dict[str, Any] = ray.get(queue.news.remote())
            for name in [*news["done"], *news["failed"]]:
                if name not in seen:
                    seen.add(name)
                    progress.advance(_told(name, news))
                    if name in news["done"]:
                        done(by_name[name])
            progress.note(f"{news['tokens'] / 1000:,.0f}k tokens")
            if not alive:
                break
            time.sleep(_POLL)
    _settle(bots, news, next((lane.error for lane in lanes if lane.error), None))


def _task(bot: Bot) -> Task:
    digests = {person.handle: person.digest for person in bot.people}
    return Task(bot.name, bot.handles, bot.trained_folder, bot.version or "", bot.tokens, digests)


def _told(name: str, news: dict[str, Any]) -> str:
    if name in news["failed"]:
        return f"{name} failed: {news['failed'][name]}"
    held_out = news["done"][name]["metrics"]["held_out"]
    return f"{name}: held-out loss {held_out['base_loss']:.2f} → {held_out['loss']:.2f}"


def _settle(bots: list[Bot], news: dict[str, Any], lane_error: str | None) -> None:
    for bot in bots:
        if bot.name in news["done"]:
            bot.status, bot.metrics = "trained", news["done"][bot.name]["metrics"]
            bot.seconds["train"] = news["done"][bot.name]["seconds"]
        else:
            bot.status = "failed"
            bot.reason = news["failed"].get(bot.name) or lane_error or "no lane was left to train it"


def _lane_count(settings: Train, bots: int) -> int:
    """As many lanes as the free cores or GPUs hold worker groups, at least one, never more than bots."""
    if settings.lanes != "auto":
        return min(settings.lanes, bots)
    total, free = ray.cluster_resources(), ray.available_resources()
    workers = settings.workers_per_bot
    if total.get("GPU", 0) >= 1:
        lanes = int(total["GPU"] / (settings.gpus_per_worker * workers))
    else:
        lanes = int(free.get("CPU", 0) / workers)
    return max(1, min(lanes, bots))


class _Lane(threading.Thread):
    """A lane as the driver sees it: a thread that waits for its TorchTrainer."""

    def __init__(self, config: LaneConfig, scratch: str):
        super().__init__(daemon=True, name=config.lane)
        self.config, self.scratch = config, scratch
        self.error: str | None = None

    def run(self) -> None:
        try:
            self._trainer().fit()
        except Exception as error:
            self.error = one_line(error)
        ray.get(self.config.queue.leave.remote(self.config.lane))

    def _trainer(self) -> TorchTrainer:
        settings = self.config.settings
        gpu = ray.cluster_resources().get("GPU", 0) >= 1
        each = {"CPU": 1.0} | ({"GPU": settings.gpus_per_worker} if gpu else {})
        return TorchTrainer(
            lane_worker,
            train_loop_config={"config": self.config},
            scaling_config=ray.train.ScalingConfig(
                num_workers=settings.workers_per_bot, use_gpu=gpu, resources_per_worker=each
            ),
            run_config=ray.train.RunConfig(
                name=self.config.lane,
                storage_path=self.scratch,
                # the queue counts: a lane that no longer gets anything done is told to end
                failure_config=ray.train.FailureConfig(max_failures=-1),
            ),
        )


def lane_worker(loop: dict[str, Any]) -> None:
    """One worker of a lane, from its start to the end of the queue."""
    config: LaneConfig = loop["config"]
    rank = ray.train.get_context().get_world_rank()
    if not _from_rank_0(lambda: ray.get(config.queue.enter.remote(config.lane)), rank):
        return
    try:
        trainer, separator = _set_up(config)
    except UserError as error:  # the same would happen at every start
        if rank == 0:
            ray.get(config.queue.give_up.remote(one_line(error)))
        return
    with ThreadPoolExecutor(1) as writer:
        written: Future[None] | None = None
        while True:
            task = _from_rank_0(lambda: ray.get(config.queue.take.remote(config.lane)), rank)
            if task is None:
                break
            if task == "wait":
                time.sleep(_POLL)
                continue
            if written:
                written.result()  # one model waits to be written at most
            written = _train_task(config, trainer, separator, task, rank, writer)
        if written:
            written.result()


def _set_up(config: LaneConfig) -> tuple[finetune.Trainer, int]:
    """The base model under DeepSpeed, and the separator's token. Raises UserError where the base does not load."""
    with tempfile.TemporaryDirectory() as folder:
        network, tokenizer = model.load(model.write_files(ray.get(config.base), Path(folder)))
    stage = finetune.resolve_zero_stage(config.settings.zero_stage, network.num_parameters())
    precision = finetune.resolve_precision(config.settings.precision)
    trainer = finetune.Trainer(network, precision=precision, zero_stage=stage)
    return trainer, model.separator_id(tokenizer)


def _from_rank_0(ask: Any, rank: int) -> Any:
    """What rank 0 is told, told to all workers of the lane."""
    import torch

    box = [ask() if rank == 0 else None]
    if torch.distributed.get_world_size() > 1:
        torch.distributed.broadcast_object_list(box, src=0)
    return box[0]


def _train_task(
    config: LaneConfig,
    trainer: finetune.Trainer,
    separator: int,
    task: Task,
    rank: int,
    writer: ThreadPoolExecutor,
) -> "Future[None] | None":
    """Trains one bot; rank 0 hands it to the writer. Whatever goes wrong is that bot's failure alone."""
    settings = config.settings
    try:
        people, held_out = _load(config, task, separator)
        blocks = finetune.packed(people, separator, settings.block_size, settings.epochs, settings.seed)
        result = _train_bot(config, trainer, task, blocks, held_out, rank)
    except Exception as error:
        if trainer.workers > 1 and not isinstance(error, finetune.Diverged | _BadData):
            raise  # the other workers are in the middle of a step: only a new start brings them together
        if rank == 0:
            ray.get(config.queue.fail.remote(config.lane, task.bot, one_line(error)))
        return None
    weights = trainer.state()
    if rank != 0:
        return None
    return writer.submit(_write, config, task, model.weight_bytes(weights, config.dtype), result)


class _BadData(Exception):
    """A bot's tweets cannot be read: every worker of the lane finds the same."""


def _load(config: LaneConfig, task: Task, separator: int) -> tuple[list[list[np.ndarray]], np.ndarray]:
    """Each person's training tweets, and one stream of what is held out."""
    try:
        people, held = zip(*(load_tweets(config.store, handle) for handle in task.handles), strict=True)
    except Exception as error:
        raise _BadData(f"its prepared tweets cannot be read: {one_line(error)}") from error
    return list(people), finetune.joined([tweet for one in held for tweet in one], separator)


def _train_bot(
    config: LaneConfig,
    trainer: finetune.Trainer,
    task: Task,
    blocks: np.ndarray,
    held_out: np.ndarray,
    rank: int,
) -> dict[str, Any]:
    settings, started = config.settings, time.perf_counter()
    trainer.reset(settings.seed)
    base_loss = trainer.loss(held_out, settings.block_size)

    def on_step(step: int, steps: int) -> None:
        if rank == 0 and (step % _PROGRESS_STEPS == 0 or step == steps):
            config.queue.step.remote(task.bot, step / steps * blocks.size)

    log = finetune.train(trainer, blocks, settings.batch_size, settings.learning_rate, rank, on_step)
    loss = trainer.loss(held_out, settings.block_size)
    last_epoch = log.losses[-max(1, len(log.losses) // settings.epochs) :]
    training = {
        "loss": float(np.mean(last_epoch)),
        "steps": len(log.losses),
        "tokens": log.tokens,
        "seconds": round(log.seconds, 3),
    }
    return {
        "metrics": {"held_out": summary(loss, base_loss, len(held_out) - 1), "train": training},
        "losses": log.losses,
        "rates": log.rates,
        "seconds": round(time.perf_counter() - started, 3),
    }


def _write(config: LaneConfig, task: Task, weights: bytes, result: dict[str, Any]) -> None:
    """Beside training: the model and how it came to be into the store, the news to the queue."""
    try:
        training = {key: result[key] for key in ("metrics", "seconds")}
        made = provenance.record(config.base_model, task.digests, config.settings, result["losses"], result["rates"])
        files = {model.WEIGHTS: weights, provenance.FILE: made, "training.json": json.dumps(training).encode()}
        config.store.write_folder(task.folder, files)
        ray.get(config.queue.finish.remote(config.lane, task.bot, training))
    except Exception as error:
        ray.get(config.queue.fail.remote(config.lane, task.bot, f"its model cannot be written: {one_line(error)}"))
