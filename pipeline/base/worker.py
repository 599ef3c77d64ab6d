"""One worker of the Ray Train run that trains a base model: its share of the texts, the steps, the checkpoints.

TorchTrainer(run_worker, train_loop_config={"config": config})
"""

import math
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pyarrow as pa
import ray
import ray.data
import ray.train

from pipeline.core import model_folder
from pipeline.core.model_folder import ModelFolder
from pipeline.train import packing
from pipeline.train.device import choose_precision
from pipeline.train.schedule import learning_rate_at
from pipeline.train.trainer import Trainer

if TYPE_CHECKING:
    import torch
    from ray.actor import ActorHandle

_LOG_STEPS = 25  # between two log lines, and between two looks at the clock for a checkpoint
HELD_OUT_TOKENS = 200_000  # at most, for the perplexity
_BETAS = (0.9, 0.95)  # of AdamW, as is usual for pre-training


@dataclass(frozen=True)
class RunSettings:
    """How one base model is trained."""

    name: str  # names what the run makes, so that only the same run continues from its checkpoints
    separator: int  # the token between texts
    block_size: int  # tokens
    batch_size: int  # blocks per step and worker
    workers: int
    epochs: int
    learning_rate: float
    weight_decay: float
    warmup_steps: int
    checkpoint_minutes: float
    precision: str
    seed: int

    @property
    def tokens_per_step(self) -> int:
        """The tokens of one step, over all workers."""
        return self.block_size * self.batch_size * self.workers

    def steps(self, tokens: int) -> int:
        """The number of steps for all epochs over so many tokens."""
        return max(1, tokens * self.epochs // self.tokens_per_step)


@dataclass(frozen=True)
class WorkerConfig:
    """What Ray Train gives to each worker."""

    settings: RunSettings
    base: "ray.ObjectRef[ModelFolder]"
    steps: int
    shards: "Sequence[ray.data.Dataset]"  # of the training texts, one for each worker
    held_out: "ray.data.Dataset"
    progress: "ActorHandle[Any]"  # of StepProgress


class StepProgress:
    """An actor through which rank 0 tells the driver how far it is."""

    def __init__(self) -> None:
        self.latest: tuple[int, str] = (0, "")

    def set(self, step: int, text: str) -> None:
        """Sets how many steps are done; `text` has the loss and the pace."""
        self.latest = (step, text)

    def get(self) -> tuple[int, str]:
        """The last that was set."""
        return self.latest


def run_worker(loop_config: dict[str, WorkerConfig]) -> None:
    """The function that Ray Train runs in each worker; `loop_config` has the one entry "config"."""
    import torch

    config = loop_config["config"]
    settings, rank = config.settings, ray.train.get_context().get_world_rank()
    torch.manual_seed(settings.seed)  # the same random weights on every worker
    trainer = Trainer(
        load_network(ray.get(config.base)),
        precision=choose_precision(settings.precision),
        weight_decay=settings.weight_decay,
        betas=_BETAS,
    )
    held_out = _held_out_stream(config.held_out, settings.separator)[:HELD_OUT_TOKENS]
    before = trainer.loss(held_out, settings.block_size)
    first_step = _restore(trainer)
    batches = _batches(config.shards[rank], settings, seed=settings.seed + first_step)
    _run_steps(config, trainer, batches, first_step)
    loss = trainer.loss(held_out, settings.block_size)
    metrics = {"loss_before": before, "held_out_loss": loss, "perplexity": math.exp(loss)}
    _save_checkpoint(trainer, config.steps, metrics)


def load_network(base: ModelFolder) -> Any:
    """The model of a folder; with random weights where the folder has none."""
    from transformers import AutoConfig, AutoModelForCausalLM

    with tempfile.TemporaryDirectory() as scratch:
        folder = base.write(Path(scratch))
        if base.has_weights:
            return model_folder.load_model(folder)
        return AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder))


def _run_steps(config: WorkerConfig, trainer: Trainer, batches: "Iterator[torch.Tensor]", first_step: int) -> None:
    """The steps from `first_step` on; every few minutes a checkpoint."""
    import torch

    settings = config.settings
    saved = logged = time.monotonic()
    losses: list[torch.Tensor] = []
    for step in range(first_step, config.steps):
        rate = learning_rate_at(step, config.steps, settings.learning_rate, warmup=settings.warmup_steps)
        losses.append(trainer.step(next(batches), rate))
        if (step + 1) % _LOG_STEPS:
            continue
        if trainer.rank == 0:
            loss, seconds = float(torch.stack(losses[-_LOG_STEPS:]).mean()), time.monotonic() - logged
            speed = _LOG_STEPS * settings.tokens_per_step / seconds
            config.progress.set.remote(step + 1, f"loss {loss:.3f}, {speed:,.0f} tokens/s")
            logged = time.monotonic()
        if trainer.on_rank_0(partial(_is_older, saved, settings.checkpoint_minutes)):
            _save_checkpoint(trainer, step + 1, {"loss": float(losses[-1])})
            saved = time.monotonic()


def _is_older(then: float, minutes: float) -> bool:
    return time.monotonic() - then > 60 * minutes


def _batches(shard: "ray.data.Dataset", settings: RunSettings, seed: int) -> "Iterator[torch.Tensor]":
    """A worker's share of the tokens as int64 [batch, block], without end; each epoch shuffles the texts anew."""
    import torch

    needed = settings.batch_size * settings.block_size
    left_over = np.zeros(0, dtype=np.int64)
    while True:
        for batch in shard.iter_batches(
            batch_size=1024, local_shuffle_buffer_size=30_000, local_shuffle_seed=seed, batch_format="pyarrow"
        ):
            left_over = np.concatenate([left_over, _join(cast(pa.Table, batch), settings.separator)])
            while len(left_over) >= needed:
                yield torch.from_numpy(left_over[:needed].reshape(settings.batch_size, settings.block_size))
                left_over = left_over[needed:]
        seed += 1


def _join(batch: pa.Table, separator: int) -> np.ndarray:
    """A batch's texts as one stream, with the separator after each."""
    return packing.join([np.asarray(ids) for ids in batch["tokens"].to_numpy()], separator)[1:]


def _held_out_stream(texts: "ray.data.Dataset", separator: int) -> np.ndarray:
    """All texts as one stream of tokens, sorted, so that the order of the data set's blocks does not matter."""
    batches = texts.iter_batches(batch_format="pyarrow")
    tokens = [np.asarray(ids) for batch in batches for ids in cast(Any, batch)["tokens"].to_numpy()]
    return packing.join(sorted(tokens, key=lambda ids: ids.tobytes()), separator)


def _save_checkpoint(trainer: Trainer, step: int, metrics: dict[str, float]) -> None:
    """Reports rank 0's weights, optimizer state and step to Ray Train; all workers wait for each other in it."""
    with tempfile.TemporaryDirectory() as folder:
        trainer.save(Path(folder), step)
        checkpoint = ray.train.Checkpoint.from_directory(folder) if trainer.rank == 0 else None
        ray.train.report(metrics, checkpoint=checkpoint)


def _restore(trainer: Trainer) -> int:
    """Restores the last checkpoint; returns the step to continue with, 0 where there is none."""
    checkpoint = ray.train.get_checkpoint()
    if checkpoint is None:
        return 0
    with checkpoint.as_directory() as folder:
        return trainer.restore(Path(folder))
