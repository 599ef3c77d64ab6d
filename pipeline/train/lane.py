"""A lane's worker: set up once, then it trains bot after bot until the fleet's queue has no more for it.

    lane = Lane("run-0/0", config, queue, base)
    lane.run()

For each bot: reset in place, train, measure the held-out loss, hand over. Meanwhile one thread loads the next bot's
tweets, another writes the last bot's model, and a third reports to the queue. An error in a bot's training or data
fails that bot alone.
"""

import math
import os
import sys
import tempfile
import threading
import time
import traceback
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import ray
import ray.train

from pipeline.core import logs, model_folder, ray_metrics
from pipeline.core.bot_files import Metrics
from pipeline.core.errors import one_line
from pipeline.core.model_folder import ModelFolder
from pipeline.core.settings import Train
from pipeline.core.store import Store
from pipeline.core.weights import safetensors_bytes, snapshot
from pipeline.plan import provenance
from pipeline.train import learned_tweets
from pipeline.train.checkpoints import Checkpoints
from pipeline.train.deepspeed_engine import init_single_process_group
from pipeline.train.device import choose_precision, choose_zero_stage, limit_gpu_memory
from pipeline.train.loop import Diverged, TrainingLog, is_out_of_memory, train_blocks
from pipeline.train.loss import held_out_metrics
from pipeline.train.queue import Queue
from pipeline.train.queue_actor import remote_queue
from pipeline.train.tasks import RESULT_FILE, Task, TrainedBot
from pipeline.train.trainer import Trainer
from pipeline.train.training_data import BadData, StoreOutage, TrainingData, load_training_data

if TYPE_CHECKING:
    import torch
    from ray.actor import ActorHandle

_WAIT_SECONDS = (0.3, 2.0)  # until a lane without work asks again: the first time, and later at most
_REPORT_SECONDS = 1.0
_LOG_LINES = 20  # of a failure's traceback
_OUTAGE_SECONDS = (1.0, 30.0)  # pauses of a lane that cannot reach the store: the first, doubled up to the last
_MAX_FAILURES = 3  # in a row that are no fault of their bots, after which the lane ends: it may be its node's fault
_AGREED = Diverged | BadData | StoreOutage  # errors that all workers of a lane raise at the same point


@dataclass(frozen=True)
class LaneConfig:
    """What the lanes of a run need. It holds no path of this machine: no shared disk is assumed."""

    run: str
    node: str  # of its workers, by id; "" if they may be on several
    queue: "ActorHandle"  # of QueueActor
    base: "ray.ObjectRef[ModelFolder]"
    store: Store
    settings: Train  # to set the lane up; each task brings its own
    kind: str  # of tasks that the lanes take
    dtype: str  # of the stored weights
    base_model: dict[str, str]  # for provenance.json: its name and its content's hash


@dataclass(frozen=True)
class _Result:
    """One bot's training, before its model is in the store."""

    trained: TrainedBot
    log: TrainingLog
    learned: bytes  # the file that says which tweets it learned from


class LaneBroken(Exception):
    """Bot after bot failed in this lane: it ends, and they are tried elsewhere."""


def run_lane_worker(loop_config: dict[str, LaneConfig]) -> None:
    """The function that Ray Train runs in each worker of a run; `loop_config` has the one entry "config".

    A lane of one worker gets a process group of its own, apart from the other workers of its run.
    """
    config = loop_config["config"]
    lane = ray.train.get_context().get_world_rank() // config.settings.workers_per_bot
    limit_gpu_memory(config.settings.gpus_per_worker)
    if config.settings.workers_per_bot == 1:
        init_single_process_group()
    Lane(f"{config.run}/{lane}", config, remote_queue(config.queue), ray.get(config.base)).run()


def _end_process(lane: str) -> NoReturn:
    """Ends a worker whose training hangs, since nothing else can: Ray Train finds it dead, and its run ends."""
    print(f"lane {lane}: no step for train.stall_minutes: this worker ends", file=sys.stderr, flush=True)
    os._exit(1)


class Lane:
    """One worker of a lane; rank 0 talks to the queue and writes to the store."""

    def __init__(self, name: str, config: LaneConfig, queue: Queue, base: ModelFolder):
        """Loads the base and sets DeepSpeed up. Raises UserError if the base cannot be used."""
        self.name, self.config, self.queue, self.store = name, config, queue, config.store
        with tempfile.TemporaryDirectory() as folder:
            network, tokenizer = model_folder.load(base.write(Path(folder)))
        self.separator = model_folder.separator_id(tokenizer)
        settings = config.settings
        self.trainer = Trainer(
            network,
            precision=choose_precision(settings.precision),
            zero_stage=choose_zero_stage(settings.zero_stage, network.num_parameters(), settings.gpus_per_worker),
            gradient_checkpointing=settings.gradient_checkpointing,
            compile=settings.compile,
            record_first=settings.record_first,
            freeze_layers=settings.freeze_layers,
            lora=settings.lora,
        )
        self.rank = self.trainer.rank
        self.tokens_trained = 0.0  # of all bots
        self.failures_in_a_row = 0  # that are no fault of their bots
        self.pause = _OUTAGE_SECONDS[0]  # after the next outage of the store
        self.in_hand: dict[str, float] = {}  # tokens trained of each bot that is in training or being written
        # held while a bot is given back, so that no report names it after that
        self.report_lock = threading.Lock()

    def run(self) -> None:
        """Trains bots until the queue has no more for this lane."""
        ended = threading.Event()
        with ThreadPoolExecutor(1) as loader, ThreadPoolExecutor(1) as writer:
            if self.rank == 0:
                self.queue.enter(self.name, self.config.kind, self.config.node)
                threading.Thread(target=self._report_until, args=(ended,), daemon=True).start()
            try:
                self._train_bots(loader, writer)
            finally:
                ended.set()

    def _train_bots(self, loader: ThreadPoolExecutor, writer: ThreadPoolExecutor) -> None:
        idle_since = time.perf_counter()
        writing: Future[None] | None = None
        loading: tuple[str, Future[TrainingData]] | None = None
        wait = _WAIT_SECONDS[0]
        while True:
            assigned = self.trainer.on_rank_0(lambda: self.queue.take(self.name, self.config.kind, list(self.in_hand)))
            if assigned.wait:
                time.sleep(wait)
                wait = min(1.5 * wait, _WAIT_SECONDS[1])
                continue
            if (task := assigned.task) is None:
                break
            wait = _WAIT_SECONDS[0]
            self.in_hand[task.bot] = 0
            data = loading[1] if loading and loading[0] == task.bot else loader.submit(self._load, task)
            upcoming = assigned.upcoming
            loading = (upcoming.bot, loader.submit(self._load, upcoming)) if upcoming else None
            result = self._train_or_fail(task, data, idle_since)
            if writing:
                writing.result()  # at most one model waits to be written
                writing = None
            if result:
                weights = snapshot(self.trainer.state(), self.config.dtype)
                writing = writer.submit(self._write, task, weights, result) if self.rank == 0 else None
            idle_since = time.perf_counter()
        if writing:
            writing.result()

    def _load(self, task: Task) -> TrainingData:
        return load_training_data(self.store, task, self.separator, self.trainer.vocabulary)

    def _train_or_fail(self, task: Task, data: "Future[TrainingData]", idle_since: float) -> _Result | None:
        """Trains one bot; returns None if it failed, after the queue was informed.

        `idle_since`: the time.perf_counter() at which the lane became idle.
        """
        try:
            loaded = self._loaded(data)
            handover = time.perf_counter() - idle_since
            result = self._train(task, loaded, round(handover, 3))
            self._log(task).info("trained in %.1f s, after %.3f s for the change", result.trained.seconds, handover)
            self.failures_in_a_row, self.pause = 0, _OUTAGE_SECONDS[0]
            return result
        except Exception as error:
            if self.trainer.workers == 1 or isinstance(error, _AGREED):
                self.trainer.recover()  # it raises where the device is at fault: then the bot has not failed
            self._fail(task, error)
            if self._is_outage(error):
                time.sleep(self.pause)
                self.pause = min(2 * self.pause, _OUTAGE_SECONDS[1])
            elif not (isinstance(error, _AGREED) or is_out_of_memory(error)):
                self.failures_in_a_row += 1
            if self.trainer.workers > 1 and not isinstance(error, _AGREED):
                raise  # the other workers are in the middle of a step: only a new start brings them together
            if self.failures_in_a_row == _MAX_FAILURES:
                raise LaneBroken(
                    f"{_MAX_FAILURES} bots in a row failed here, the last with {one_line(error)}"
                ) from error
            return None

    def _loaded(self, data: "Future[TrainingData]") -> TrainingData:
        """A bot's data, once every worker has it. Raises the error of the first worker that could not read it.

        Otherwise the others would wait in a step for the one that failed.
        """
        problem: Exception | None = None
        try:
            loaded = data.result()
        except Exception as error:
            problem = error
        for one in self.trainer.of_all_ranks(problem):
            if one is not None:
                raise one
        return loaded

    def _fail(self, task: Task, error: Exception) -> None:
        """Gives a bot back to the queue: of workers that fail together rank 0 does, else the first that fails."""
        if self.rank != 0 and isinstance(error, _AGREED):
            return
        self._log(task).warning("failed: %s", one_line(error))
        log = "\n".join("".join(traceback.format_exception(error)).splitlines()[-_LOG_LINES:])
        with self.report_lock:
            self.in_hand.pop(task.bot, None)
            give_back = self.queue.fail
            if self._is_outage(error):
                give_back = self.queue.postpone
            elif is_out_of_memory(error):
                give_back = self.queue.out_of_memory
            elif isinstance(error, Diverged):
                give_back = self.queue.diverged
            give_back(self.name, task.bot, one_line(error), log)

    def _train(self, task: Task, data: TrainingData, handover: float) -> _Result:
        """Trains one bot. Raises Diverged if a loss is not finite, and what a step raises."""
        started = time.perf_counter()
        base_loss, loss_before = self._reset(task, data)
        log = self._run_steps(task, data)
        loss = self.trainer.loss(data.held_out, task.settings.block_size)
        if not math.isfinite(loss):
            raise Diverged(f"the held-out loss is {loss}")
        metrics: Metrics = {
            "held_out": held_out_metrics(loss, base_loss, len(data.held_out) - 1),
            "train": log.totals(task.settings.epochs),
        }
        if task.rate_factor != 1:
            metrics["lowered_rate"] = {"recipe": data.learning_rate, "used": data.learning_rate * task.rate_factor}
        if data.continued:
            start_over = log.seconds / log.tokens * task.total_tokens  # an estimate, at this training's pace
            metrics["continued"] = {
                **data.continued,
                "loss_before": loss_before,
                "seconds_to_start_over": round(start_over, 3),
            }
        if data.started_over:
            metrics["started_over"] = data.started_over
        return _Result(TrainedBot(metrics, round(time.perf_counter() - started, 3), handover), log, data.learned)

    def _reset(self, task: Task, data: TrainingData) -> tuple[float, float]:
        """Puts the weights to train from in place; returns the held-out losses of the base and of these weights."""
        settings = task.settings
        # a person with less text than a block has a shape alone, and too few steps for a recording to pay
        if task.micro_batches == 1 and data.blocks.block_size == settings.block_size:
            self.trainer.record(settings.batch_size, settings.block_size)
        self.trainer.reset(settings.seed)
        base_loss = self.trainer.loss(data.held_out, settings.block_size)
        if data.start is None:
            return base_loss, base_loss
        self.trainer.reset(settings.seed, data.start)
        return base_loss, self.trainer.loss(data.held_out, settings.block_size)

    def _run_steps(self, task: Task, data: TrainingData) -> TrainingLog:
        """All steps of a bot's training, or those after its last checkpoint."""
        checkpoints = Checkpoints(self.store, task, self.trainer)
        restored = checkpoints.restore(
            start_over=lambda: self.trainer.reset(task.settings.seed, data.start), warn=self._log(task).warning
        )
        self.in_hand[task.bot] = restored.tokens if restored else 0

        def after_step(log: TrainingLog) -> None:
            self.tokens_trained += log.tokens - self.in_hand[task.bot]
            self.in_hand[task.bot] = log.tokens
            checkpoints.after_step(log)

        return train_blocks(
            self.trainer,
            data.blocks,
            task.settings.batch_size,
            data.learning_rate * task.rate_factor,
            schedule=task.settings.schedule,
            warmup_ratio=task.settings.warmup_ratio,
            micro_batches=task.micro_batches,
            log=restored,
            on_step=after_step,
        )

    def _write(self, task: Task, weights: "dict[str, torch.Tensor]", result: _Result) -> None:
        """Writes a bot's model and how it was made to the store, and tells the queue; runs beside training."""
        try:
            self._write_files(task, weights, result)
            if task.has_checkpoint:
                self.store.delete(f"work/checkpoints/{task.bot}")
            self.queue.finish(self.name, task.bot, result.trained)
            self._log(task).info("its model is in the store")
        except Exception as error:
            reason = f"its model cannot be written: {one_line(error)}"
            self._log(task).warning(reason)
            with self.report_lock:
                give_back = self.queue.postpone if self._is_outage(error) else self.queue.fail
                give_back(self.name, task.bot, reason)
        self.in_hand.pop(task.bot, None)

    def _write_files(self, task: Task, weights: "dict[str, torch.Tensor]", result: _Result) -> None:
        log, config = result.log, self.config
        made_by = provenance.record(
            config.base_model, task.digests, task.settings, log.losses, log.rates, task.previous_version
        )
        files = {
            model_folder.WEIGHTS: safetensors_bytes(weights),
            provenance.FILE: made_by,
            learned_tweets.FILE: result.learned,
            RESULT_FILE: result.trained.to_json(),
        }
        # a lane that was thought lost may have written it, and it may have been published since
        written = self.store.exists(f"{task.folder}/{RESULT_FILE}")
        if not written and self.store.current_version(task.bot) != task.version:
            self.store.write_folder(task.folder, files)

    def _report_until(self, ended: threading.Event) -> None:
        """Reports to the queue and counts tokens every second until the lane has ended."""
        counted, over = 0.0, False
        while not over:
            over = ended.wait(_REPORT_SECONDS)
            if not over:
                with self.report_lock:
                    stalled = self.queue.report(self.name, dict(self.in_hand), self.config.kind, self.config.node)
                if stalled:
                    _end_process(self.name)
            tokens = self.tokens_trained
            ray_metrics.record("lane_tokens_total", tokens - counted, fleet=self.store.fleet, lane=self.name)
            counted = tokens

    def _is_outage(self, error: Exception) -> bool:
        return isinstance(error, StoreOutage) or self.store.is_outage(error)

    def _log(self, task: Task) -> Any:
        return logs.log(fleet=self.store.fleet, bot=task.bot, version=task.version, lane=self.name, rank=self.rank)
