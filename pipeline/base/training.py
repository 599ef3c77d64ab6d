"""One model on everybody's text: a single Ray Train run, data-parallel over all workers, under DeepSpeed.

    trained, metrics = fit(Run(...), base, training, held_out, store, progress)

What `pretrain` (from random weights) and `adapt` (from a base) share. Each worker streams its share of the texts,
packs it into blocks and trains. A checkpoint every few minutes: the same run goes on where it was stopped.
"""

import math
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import ray
import ray.data
import ray.train
from ray.train.torch import TorchTrainer

from pipeline.core import model_folder
from pipeline.core.errors import UserError
from pipeline.core.model_folder import ModelFolder
from pipeline.core.progress import Progress
from pipeline.core.ray_session import capacity
from pipeline.core.store import Store
from pipeline.train import packing
from pipeline.train import trainer as finetune

_LOG_STEPS = 25
_HELD_OUT_TOKENS = 200_000  # at most, for the perplexity


@dataclass(frozen=True)
class Run:
    """One training of one model; `name` says what it makes, so that only the same run goes on from its checkpoints."""

    name: str
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

    def steps(self, tokens: int) -> int:
        """How many steps the epochs over so many tokens take."""
        return max(1, tokens * self.epochs // (self.block_size * self.batch_size * self.workers))


def fit(
    run: Run,
    base: ModelFolder,
    training: "ray.data.Dataset",
    held_out: "ray.data.Dataset",
    store: Store,
    progress: Progress,
) -> tuple[Any, dict[str, Any]]:
    """Trains the model of `base` (without weights it starts at random).

    Both datasets have columns `tokens` (list of int32) and `count` (with the separator). Returns the model and
    the metrics: `loss_before`, `held_out_loss`, `perplexity`, `steps`, `training_tokens`. Raises UserError where the
    run ends without a model.
    """
    tokens = int(cast(Any, training.sum("count")) or 0)
    steps = run.steps(tokens)
    shown = ray.remote(_Steps).options(num_cpus=0).remote()
    loop = {
        "run": asdict(run),
        "base": ray.put(base),
        "steps": steps,
        # a Dataset each, not Ray Train's common split: there every worker waits at the end of an epoch for
        # the others, which wait in the middle of a step for it
        "shards": training.split(run.workers, equal=True),
        "held_out": held_out,
        "shown": shown,
    }
    trainer = TorchTrainer(
        _worker,
        train_loop_config=loop,
        scaling_config=_scaling(run.workers),
        run_config=ray.train.RunConfig(
            name=run.name,
            storage_path=store.path("work"),
            storage_filesystem=store.filesystem,
            checkpoint_config=ray.train.CheckpointConfig(num_to_keep=2),
            failure_config=ray.train.FailureConfig(max_failures=3),
        ),
    )
    step_name = run.name.partition("-")[0]
    progress.start(step_name, steps, f"{steps:,} steps on {run.workers} workers")
    with ThreadPoolExecutor(1) as pool:
        fitting = pool.submit(trainer.fit)
        while not fitting.done():
            _show(shown, progress)
            time.sleep(1)
        result = fitting.result()
    if result.checkpoint is None:
        raise UserError(f"{step_name}: the run ended without a model; see {store.path('work')}")
    from safetensors.torch import load_file

    trained = network(base)
    with result.checkpoint.as_directory() as folder:
        trained.load_state_dict(load_file(Path(folder) / "weights.safetensors"))
    return trained, {"training_tokens": tokens, "steps": steps} | dict(result.metrics or {})


class _Steps:
    """What rank 0 tells the driver while it trains."""

    def __init__(self) -> None:
        self.latest: tuple[int, str] = (0, "")

    def tell(self, step: int, text: str) -> None:
        self.latest = (step, text)

    def ask(self) -> tuple[int, str]:
        return self.latest


def _show(shown: Any, progress: Progress) -> None:
    step, text = ray.get(shown.ask.remote())
    if step > progress.done:
        progress.advance(text, count=step - progress.done)


def _scaling(workers: int) -> ray.train.ScalingConfig:
    gpus, _ = capacity()
    return ray.train.ScalingConfig(
        num_workers=workers,
        use_gpu=gpus > 0,
        # less than a core each, so that the tasks that feed the workers find room on a full machine
        resources_per_worker={"CPU": 0.5} | ({"GPU": 1} if gpus else {}),
    )


def _worker(loop: dict[str, Any]) -> None:
    """One worker of the Ray Train run."""
    import torch

    settings = Run(**loop["run"])
    steps, rank = loop["steps"], ray.train.get_context().get_world_rank()
    torch.manual_seed(settings.seed)  # the same start on every worker
    trainer = finetune.Trainer(
        network(ray.get(loop["base"])),
        precision=finetune.resolve_precision(settings.precision),
        weight_decay=settings.weight_decay,
        betas=(0.9, 0.95),
    )
    held_out = _stream(loop["held_out"], settings.separator)[:_HELD_OUT_TOKENS]
    before = trainer.loss(held_out, settings.block_size)
    start = _restore(trainer)
    batches = _batches(loop["shards"][rank], settings, seed=settings.seed + start)
    saved = shown = time.monotonic()
    losses: list[torch.Tensor] = []
    for step in range(start, steps):
        rate = finetune.scheduled(step, steps, settings.learning_rate, warmup=settings.warmup_steps)
        losses.append(trainer.step(next(batches), rate))
        if rank == 0 and (step + 1) % _LOG_STEPS == 0:
            loss, seconds = float(torch.stack(losses[-_LOG_STEPS:]).mean()), time.monotonic() - shown
            speed = _LOG_STEPS * settings.batch_size * settings.workers * settings.block_size / seconds
            loop["shown"].tell.remote(step + 1, f"loss {loss:.3f}, {speed:,.0f} tokens/s")
            shown = time.monotonic()
        due = torch.tensor(float(time.monotonic() - saved > settings.checkpoint_minutes * 60))
        if (step + 1) % _LOG_STEPS == 0:
            torch.distributed.broadcast(due, src=0)  # rank 0's clock decides for all
            if due:
                _checkpoint(trainer, step + 1, {"loss": float(losses[-1])}, rank)
                saved = time.monotonic()
    loss = trainer.loss(held_out, settings.block_size)
    _checkpoint(trainer, steps, {"loss_before": before, "held_out_loss": loss, "perplexity": math.exp(loss)}, rank)


def network(base: ModelFolder) -> Any:
    """The model of a folder; of its configuration alone, with random weights, where it has none."""
    from transformers import AutoConfig, AutoModelForCausalLM

    with tempfile.TemporaryDirectory() as scratch:
        folder = base.write(Path(scratch))
        if base.has_weights:
            return model_folder.load_model(folder)
        return AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder))


def _batches(shard: "ray.data.Dataset", settings: Run, seed: int) -> "Iterator[Any]":
    """A worker's share of the tokens, shuffled anew each time round, as [batch, block] without end."""
    import torch

    need = settings.batch_size * settings.block_size
    waiting = np.zeros(0, dtype=np.int64)
    while True:
        for batch in shard.iter_batches(
            batch_size=1024, local_shuffle_buffer_size=30_000, local_shuffle_seed=seed, batch_format="pyarrow"
        ):
            waiting = np.concatenate([waiting, _joined(batch, settings.separator)])
            while len(waiting) >= need:
                yield torch.from_numpy(waiting[:need].reshape(settings.batch_size, settings.block_size))
                waiting = waiting[need:]
        seed += 1


def _stream(texts: "ray.data.Dataset", separator: int) -> np.ndarray:
    """All tokens of the texts, a separator before, between and after them; the same whatever order they come in."""
    batches = texts.iter_batches(batch_format="pyarrow")
    tokens = [np.asarray(ids) for batch in batches for ids in cast(Any, batch)["tokens"].to_numpy()]
    return packing.joined(sorted(tokens, key=lambda ids: ids.tobytes()), separator)


def _joined(batch: pa.Table, separator: int) -> np.ndarray:
    """A batch's texts in one stream, each with the separator after it."""
    return packing.joined([np.asarray(ids) for ids in batch["tokens"].to_numpy()], separator)[1:]


def _checkpoint(trainer: finetune.Trainer, step: int, metrics: dict[str, float], rank: int) -> None:
    """Reports rank 0's weights, optimizer state and step; a barrier for all workers."""
    with tempfile.TemporaryDirectory() as folder:
        trainer.save(Path(folder), step)
        checkpoint = ray.train.Checkpoint.from_directory(folder) if rank == 0 else None
        ray.train.report(metrics, checkpoint=checkpoint)


def _restore(trainer: finetune.Trainer) -> int:
    """The step to go on from: 0 without a checkpoint."""
    checkpoint = ray.train.get_checkpoint()
    if checkpoint is None:
        return 0
    with checkpoint.as_directory() as folder:
        return trainer.restore(Path(folder))
