"""The training loop of one bot: its blocks in order, each step at its learning rate, with a log of the losses.

log = train_blocks(trainer, blocks, batch_size=1, learning_rate=1e-3)
log.losses[-1]
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch

from pipeline.core.bot_files import TrainingTotals
from pipeline.train.packing import Blocks
from pipeline.train.schedule import learning_rate_at
from pipeline.train.trainer import Trainer

_STEPS_BETWEEN_READS = 100  # of the losses from the device; each read waits for all steps before it


class Diverged(Exception):
    """The loss became infinite or not a number."""


@dataclass
class TrainingLog:
    """The steps of a training so far."""

    losses: list[float] = field(default_factory=list)  # of each step: nats per token, mean over the workers' blocks
    rates: list[float] = field(default_factory=list)  # the learning rate of each step
    tokens: int = 0  # trained on, over all workers
    seconds: float = 0.0
    pending: list[torch.Tensor] = field(default_factory=list)  # this worker's last losses, still on the device

    def collect(self, workers: int) -> None:
        """Moves the pending losses to `losses`, as means over all workers. Raises Diverged if one is not finite."""
        if not self.pending:
            return
        means = torch.stack(self.pending)
        if workers > 1:
            torch.distributed.all_reduce(means)
            means /= workers
        before = len(self.losses)
        self.losses += means.tolist()
        self.pending.clear()
        for step, loss in enumerate(self.losses[before:], start=before + 1):
            if not math.isfinite(loss):
                raise Diverged(f"the loss was {loss} at step {step}")

    def totals(self, epochs: int) -> TrainingTotals:
        """The entry `train` of metrics.json; its loss is the mean over the last of so many epochs."""
        last_epoch = self.losses[-max(1, len(self.losses) // epochs) :]
        return {
            "loss": float(np.mean(last_epoch)),
            "steps": len(self.losses),
            "tokens": self.tokens,
            "seconds": round(self.seconds, 3),
        }


def train_blocks(
    trainer: Trainer,
    blocks: Blocks | np.ndarray,
    batch_size: int,
    learning_rate: float,
    *,
    schedule: str = "cosine",
    warmup_ratio: float = 0.0,
    micro_batches: int = 1,
    log: TrainingLog | None = None,
    on_step: Callable[[TrainingLog], None] = lambda log: None,
) -> TrainingLog:
    """Trains on blocks [n, block] of token ids (int64), in order: each step takes `batch_size` of them on each worker.

    The last step is filled up with blocks from the front, so that every worker has its share of every step. The rate
    rises over the first `warmup_ratio` of the steps, then follows `schedule` (see `learning_rate_at`).
    `micro_batches`: see `Trainer.step`. `log` holds the steps that a restored trainer has done already. Raises Diverged
    where a loss is not finite.
    """
    log = log or TrainingLog()
    started = time.perf_counter() - log.seconds
    blocks_per_step = batch_size * trainer.workers
    steps = math.ceil(len(blocks) / blocks_per_step)
    warmup = math.ceil(steps * warmup_ratio)
    order = np.resize(np.arange(len(blocks)), (steps, trainer.workers, batch_size))[:, trainer.rank]
    for step in range(len(log.rates), steps):
        rate = learning_rate_at(step, steps, learning_rate, schedule, warmup)
        log.pending.append(trainer.step(torch.from_numpy(blocks[order[step]]), rate, micro_batches))
        log.rates.append(rate)
        log.tokens += blocks_per_step * blocks.shape[1]
        log.seconds = time.perf_counter() - started
        on_step(log)
        if len(log.pending) >= _STEPS_BETWEEN_READS:
            log.collect(trainer.workers)
    log.collect(trainer.workers)
    log.seconds = time.perf_counter() - started
    return log


def is_out_of_memory(error: BaseException) -> bool:
    """Whether smaller micro-batches might help: the memory of the device, or of the machine, ran out."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)
