"""Checkpoints of a bot that takes long, in the store: `work/checkpoints/{bot}/{version and lane}/{step}/`.

checkpoints = Checkpoints(store, task, trainer)
log = checkpoints.restore(start_over, warn)     # None: start from the beginning
train_blocks(trainer, blocks, 1, 1e-3, log=log, on_step=checkpoints.after_step)
"""

import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from pipeline.core.errors import one_line
from pipeline.core.store import Store
from pipeline.train.loop import TrainingLog
from pipeline.train.tasks import Task
from pipeline.train.trainer import Trainer

_STEPS_BETWEEN_CLOCKS = 20  # with several workers, which agree on the time by a broadcast


class Checkpoints:
    """One bot's checkpoints; every worker of the lane has one and calls the same methods at the same steps."""

    def __init__(self, store: Store, task: Task, trainer: Trainer):
        self.store, self.task, self.trainer = store, task, trainer
        # a checkpoint fits only the number of workers, the ZeRO stage and the learning rate that it was made with
        zero_stage = trainer.engine.zero_optimization_stage()
        self.folder = f"work/checkpoints/{task.bot}/{task.version}-{trainer.workers}-{zero_stage}"
        if task.rate_factor != 1:
            self.folder += f"-{task.rate_factor:g}"
        self.interval_seconds = task.settings.checkpoint_minutes * 60
        self.last_saved = time.monotonic()

    def after_step(self, log: TrainingLog) -> None:
        """Writes a checkpoint where the last one is older than `train.checkpoint_minutes`."""
        if self.trainer.workers > 1 and len(log.rates) % _STEPS_BETWEEN_CLOCKS:
            return
        if self.trainer.on_rank_0(lambda: time.monotonic() - self.last_saved >= self.interval_seconds):
            self._save(log)
            self.last_saved = time.monotonic()

    def restore(self, start_over: Callable[[], object], warn: Callable[[str], None]) -> TrainingLog | None:
        """Restores the trainer from the last checkpoint that can be read; returns its log, or None if there is none.

        One that cannot be read on every worker is deleted, which `warn` reports; `start_over` then undoes what was
        restored of it.
        """
        while self.task.has_checkpoint:
            step = self.trainer.on_rank_0(self._latest_step)
            if step is None:
                return None
            log, problem = self._read(step)
            problems = [text for text in self.trainer.of_all_ranks(problem) if text]
            if not problems:
                return log
            start_over()
            if self.trainer.rank == 0:
                warn(f"its checkpoint of step {step} is deleted: {problems[0]}")
                self.store.delete(f"{self.folder}/{step}")
        return None

    def _read(self, step: int) -> tuple[TrainingLog | None, str]:
        """Restores this worker from the checkpoint of this step: its log, or why it cannot be read.

        Raises OSError if the store cannot be reached.
        """
        with tempfile.TemporaryDirectory() as scratch:
            folder = self.store.fetch(f"{self.folder}/{step}", Path(scratch))
            try:
                self.trainer.restore(folder)
                return TrainingLog(**json.loads((folder / "log.json").read_text())), ""
            except Exception as error:  # files of two lanes, half a file, another model's …: whatever cannot be loaded
                return None, one_line(error)

    def _save(self, log: TrainingLog) -> None:
        log.collect(self.trainer.workers)
        self.task.has_checkpoint = True
        step = len(log.losses)
        with tempfile.TemporaryDirectory() as folder:
            self.trainer.save(Path(folder), step)
            for path in Path(folder).iterdir():
                self.store.write(f"{self.folder}/{step}/{path.name}", path.read_bytes())
        torch.distributed.barrier()
        if self.trainer.rank == 0:
            content = {"losses": log.losses, "rates": log.rates, "tokens": log.tokens, "seconds": log.seconds}
            # last of all: it marks the checkpoint as complete
            self.store.write(f"{self.folder}/{step}/log.json", json.dumps(content).encode())
            for old in self.store.list(self.folder):
                if old != str(step):
                    self.store.delete(f"{self.folder}/{old}")

    def _latest_step(self) -> int | None:
        steps = sorted((int(name) for name in self.store.list(self.folder)), reverse=True)
        return next((step for step in steps if self.store.exists(f"{self.folder}/{step}/log.json")), None)
