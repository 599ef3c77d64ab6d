"""A lane's worker: sets up once, then trains bot after bot until the fleet's queue has none left for it.

Per bot: reset in place, train, measure the held-out loss, hand over. While one trains, a thread loads the next
one's tweets, another writes the last one's model, and a third tells the queue how far it is. Whatever goes
wrong with a bot is that bot's failure alone.
"""

import json
import math
import tempfile
import threading
import time
import traceback
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import ray
import ray.train

from pipeline.core import logs, model_folder, ray_metrics
from pipeline.core.errors import UserError, one_line
from pipeline.core.model_folder import ModelFolder
from pipeline.core.settings import Train
from pipeline.core.store import Store
from pipeline.plan import provenance
from pipeline.train import bot_data, continuing
from pipeline.train import trainer as finetune
from pipeline.train.bot_data import BadData, Data
from pipeline.train.held_out import summary
from pipeline.train.queue import Task

_WAIT = 0.3  # seconds until a lane without work asks again
_REPORT = 1.0  # seconds
_LOG_LINES = 20  # of a failure's traceback
_CLOCK_STEPS = 20  # between looks at the clock, where several workers must agree on it


@dataclass(frozen=True)
class LaneConfig:
    """What the lanes of a run get, whole: nothing in it assumes a shared disk."""

    run: str
    queue: Any  # the QueueActor's handle
    base: Any  # object reference to the base model's folder
    store: Store
    settings: Train  # for setting up; a task brings its own
    kind: str  # of tasks they take
    dtype: str
    base_model: dict[str, str]  # its name and its content's hash


class _Queue:
    """The fleet's queue, called and waited for."""

    def __init__(self, actor: Any):
        self._actor = actor

    def __getattr__(self, name: str) -> Any:
        return lambda *arguments: ray.get(getattr(self._actor, name).remote(*arguments))


def work(loop: dict[str, Any]) -> None:
    """What Ray Train runs: one worker of a run. A lane of one worker is a group of its own, whoever is beside it."""
    config: LaneConfig = loop["config"]
    context = ray.train.get_context()
    lane, rank = divmod(context.get_world_rank(), config.settings.workers_per_bot)
    finetune.claim_device(config.settings.gpus_per_worker)
    if config.settings.workers_per_bot == 1:
        finetune.single_process_group()
    queue = _Queue(config.queue)
    try:
        worker = Lane(f"{config.run}/{lane}", config, queue, ray.get(config.base), rank)
    except UserError as error:  # the same would happen at every start
        if rank == 0:
            queue.give_up(config.kind, one_line(error))
        return
    worker.run()


class Lane:
    """One worker of a lane; rank 0 talks to the queue and to the store."""

    def __init__(self, name: str, config: LaneConfig, queue: Any, base: ModelFolder, rank: int):
        """Loads the base and sets DeepSpeed up. Raises UserError where the base does not load."""
        self.name, self.config, self.queue, self.rank, self.store = name, config, queue, rank, config.store
        with tempfile.TemporaryDirectory() as folder:
            network, tokenizer = model_folder.load(base.write(Path(folder)))
        self.separator = model_folder.separator_id(tokenizer)
        settings = config.settings
        self.trainer = finetune.Trainer(
            network,
            precision=finetune.resolve_precision(settings.precision),
            zero_stage=finetune.resolve_zero_stage(
                settings.zero_stage, network.num_parameters(), settings.gpus_per_worker
            ),
            gradient_checkpointing=settings.gradient_checkpointing,
            compile=settings.compile,
            freeze_layers=settings.freeze_layers,
            lora=settings.lora,
        )
        self.trained = 0.0  # tokens, of all bots
        self.held: dict[str, float] = {}  # bots in training or being written, with the tokens trained so far
        self.telling = threading.Lock()  # the queue must not hear of a bot in hand after it came back

    def run(self) -> None:
        """Trains until the queue has nothing more."""
        ended = threading.Event()
        with ThreadPoolExecutor(1) as loader, ThreadPoolExecutor(1) as writer:
            if self.rank == 0:
                self.queue.enter(self.name)
                threading.Thread(target=self._report, args=(ended,), daemon=True).start()
            try:
                self._work(loader, writer)
            finally:
                ended.set()

    def _work(self, loader: ThreadPoolExecutor, writer: ThreadPoolExecutor) -> None:
        free = time.perf_counter()
        written: Future[None] | None = None
        loaded: tuple[str, Future[Data]] | None = None
        while True:
            task, upcoming = self._from_rank_0(lambda: self.queue.take(self.name, self.config.kind))
            if task is None:
                break
            if task == "wait":
                time.sleep(_WAIT)
                continue
            self.held[task.bot] = 0
            data = loaded[1] if loaded and loaded[0] == task.bot else loader.submit(self.load, task)
            loaded = (upcoming.bot, loader.submit(self.load, upcoming)) if upcoming else None
            result = self.train(task, data, free)
            if written:
                written.result()  # one model waits to be written at most
                written = None
            if result:
                weights = model_folder.snapshot(self.trainer.state(), self.config.dtype)
                written = writer.submit(self._write, task, weights, result) if self.rank == 0 else None
            free = time.perf_counter()
        if written:
            written.result()

    def _log(self, task: Task) -> Any:
        return logs.log(fleet=self.store.fleet, bot=task.bot, version=task.version, lane=self.name, rank=self.rank)

    def _from_rank_0(self, ask: Any) -> Any:
        """What rank 0 is told, told to all workers of the lane."""
        import torch

        box = [ask() if self.rank == 0 else None]
        if self.trainer.workers > 1:
            torch.distributed.broadcast_object_list(box, src=0)
        return box[0]

    def _report(self, ended: threading.Event) -> None:
        counted, over = 0.0, False
        while not over:
            over = ended.wait(_REPORT)
            if not over:
                with self.telling:
                    self.queue.report(self.name, dict(self.held))
            trained = self.trained
            ray_metrics.record("lane_tokens_total", trained - counted, fleet=self.store.fleet, lane=self.name)
            counted = trained

    def load(self, task: Task) -> Data:
        """What a task trains on. Raises BadData."""
        return bot_data.load(self.store, task, self.separator, self.trainer.vocabulary)

    def train(self, task: Task, data: "Future[Data]", free: float) -> dict[str, Any] | None:
        """Trains one bot; None where that failed, which the queue then knows. `free`: since when the lane is."""
        try:
            loaded = data.result()
            handover = time.perf_counter() - free
            result = self._train(task, loaded) | {"handover": round(handover, 3)}
            self._log(task).info("trained in %.1f s, after %.3f s for the change", result["seconds"], handover)
            return result
        except Exception as error:
            self._failed(task, error)
            if self.trainer.workers > 1 and not isinstance(error, finetune.Diverged | BadData):
                raise  # the other workers are in the middle of a step: only a new start brings them together
            self.trainer.recover()
            return None

    def _failed(self, task: Task, error: Exception) -> None:
        if self.rank != 0:
            return
        self._log(task).warning("failed: %s", one_line(error))
        with self.telling:
            self.held.pop(task.bot, None)
            if finetune.out_of_memory(error) and 2 * task.parts <= task.settings.batch_size:
                self.queue.split(self.name, task.bot, 2 * task.parts)
            else:
                log = "\n".join("".join(traceback.format_exception(error)).splitlines()[-_LOG_LINES:])
                self.queue.fail(self.name, task.bot, one_line(error), log)

    def _train(self, task: Task, data: Data) -> dict[str, Any]:
        settings, trainer, started = task.settings, self.trainer, time.perf_counter()
        trainer.reset(settings.seed)
        base_loss = trainer.loss(data.held_out, settings.block_size)
        if data.start:
            trainer.reset(settings.seed, data.start)
            data.told["continued"]["loss_before"] = trainer.loss(data.held_out, settings.block_size)
        checkpoints = _Checkpoints(self, task)
        log = checkpoints.restore()
        self.held[task.bot] = log.tokens if log else 0

        def on_step(log: finetune.Log) -> None:
            self.trained += log.tokens - self.held[task.bot]
            self.held[task.bot] = log.tokens
            checkpoints.after_step(log)

        log = finetune.train(
            trainer,
            data.blocks,
            settings.batch_size,
            data.learning_rate,
            schedule=settings.schedule,
            warmup_ratio=settings.warmup_ratio,
            parts=task.parts,
            log=log,
            on_step=on_step,
        )
        loss = trainer.loss(data.held_out, settings.block_size)
        last_epoch = log.losses[-max(1, len(log.losses) // settings.epochs) :]
        training = {
            "loss": float(np.mean(last_epoch)),
            "steps": len(log.losses),
            "tokens": log.tokens,
            "seconds": round(log.seconds, 3),
        }
        if not math.isfinite(loss):
            raise finetune.Diverged(f"the held-out loss is {loss}")
        if data.start:
            pace = log.seconds / log.tokens
            data.told["continued"]["seconds_to_start_over"] = round(pace * task.work, 3)
        measured = {"held_out": summary(loss, base_loss, len(data.held_out) - 1), "train": training}
        return {
            "metrics": measured | data.told,
            "learned": data.learned,
            "losses": log.losses,
            "rates": log.rates,
            "seconds": round(time.perf_counter() - started, 3),
        }

    def _write(self, task: Task, weights: dict[str, Any], result: dict[str, Any]) -> None:
        """Beside training: the model and how it came to be into the store, the news to the queue."""
        training = {key: result[key] for key in ("metrics", "seconds", "handover")}
        finished = f"{task.folder}/training.json"
        try:
            made = provenance.record(
                self.config.base_model, task.digests, task.settings, result["losses"], result["rates"], task.last
            )
            files = {
                model_folder.WEIGHTS: model_folder.saved(weights),
                provenance.FILE: made,
                continuing.FILE: result["learned"],
            }
            # a lane that was thought lost may have finished it, and it may be published since
            if not self.store.exists(finished) and self.store.current_version(task.bot) != task.version:
                self.store.write_folder(task.folder, files | {"training.json": json.dumps(training).encode()})
            if task.resumes:
                self.store.delete(f"work/checkpoints/{task.bot}")
            self.queue.finish(self.name, task.bot, training)
            self._log(task).info("its model is in the store")
        except Exception as error:
            self._log(task).warning("its model cannot be written: %s", one_line(error))
            with self.telling:
                self.queue.fail(self.name, task.bot, f"its model cannot be written: {one_line(error)}")
        self.held.pop(task.bot, None)


class _Checkpoints:
    """Of one bot that takes long, in the store: `work/checkpoints/{bot}/{what it is}/{step}/`."""

    def __init__(self, lane: Lane, task: Task):
        self.lane, self.task, self.trainer, self.store = lane, task, lane.trainer, lane.store
        self.folder = f"work/checkpoints/{task.bot}/{task.version}-{self.trainer.workers}-{self.trainer.zero_stage}"
        self.seconds = task.settings.checkpoint_minutes * 60
        self.saved = time.monotonic()

    def after_step(self, log: finetune.Log) -> None:
        """Writes a checkpoint where it is time; all workers of the lane come here after each step."""
        if self.trainer.workers > 1 and len(log.rates) % _CLOCK_STEPS:
            return
        due = time.monotonic() - self.saved >= self.seconds
        if self.trainer.workers > 1:
            due = self.lane._from_rank_0(lambda: due)
        if due:
            self._save(log)
            self.saved = time.monotonic()

    def _save(self, log: finetune.Log) -> None:
        import torch

        log.settle(self.trainer.workers)
        self.task.resumes = True
        step = len(log.losses)
        with tempfile.TemporaryDirectory() as folder:
            self.trainer.save(Path(folder), step)
            for path in Path(folder).iterdir():
                self.store.write(f"{self.folder}/{step}/{path.name}", path.read_bytes())
        torch.distributed.barrier()
        if self.lane.rank == 0:
            known = {"losses": log.losses, "rates": log.rates, "tokens": log.tokens, "seconds": log.seconds}
            self.store.write(f"{self.folder}/{step}/log.json", json.dumps(known).encode())  # last: now it is whole
            for old in self.store.list(self.folder):
                if old != str(step):
                    self.store.delete(f"{self.folder}/{old}")

    def restore(self) -> finetune.Log | None:
        """Brings the trainer to where the last whole checkpoint left it; None where there is none."""
        step = self.lane._from_rank_0(self._latest) if self.task.resumes else None
        if step is None:
            return None
        with tempfile.TemporaryDirectory() as scratch:
            folder = self.store.fetch(f"{self.folder}/{step}", Path(scratch))
            self.trainer.restore(folder)
            return finetune.Log(**json.loads((folder / "log.json").read_text()))

    def _latest(self) -> int | None:
        steps = sorted((int(name) for name in self.store.list(self.folder)), reverse=True)
        return next((step for step in steps if self.store.exists(f"{self.folder}/{step}/log.json")), None)
