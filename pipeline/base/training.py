"""Trains one model on everybody's text: a Ray Train run, data-parallel over all workers, under DeepSpeed.

    trained = train_model(settings, base, training, held_out, store, progress)
    trained.model.save_pretrained("base")

`pretrain` starts from random weights, `adapt` from a base. Each worker streams its share of the texts, packs it into
blocks and trains (worker.py). It saves a checkpoint every few minutes: the same run continues where it was stopped.
"""

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict, cast

import ray
import ray.data
import ray.train
from ray.train.torch import TorchTrainer

from pipeline.base.worker import RunSettings, StepProgress, WorkerConfig, load_network, run_worker
from pipeline.core.errors import UserError
from pipeline.core.model_folder import ModelFolder
from pipeline.core.progress import Progress
from pipeline.core.ray_session import capacity
from pipeline.core.store import Store


class BaseMetrics(TypedDict):
    """How good a base became; losses in nats per token on the held-out texts."""

    training_tokens: int  # of one epoch
    steps: int
    loss_before: float
    held_out_loss: float
    perplexity: float


@dataclass(frozen=True)
class TrainedBase:
    """A trained model, of transformers' class, and its metrics."""

    model: Any
    metrics: BaseMetrics


def train_model(
    settings: RunSettings,
    base: ModelFolder,
    training: "ray.data.Dataset",
    held_out: "ray.data.Dataset",
    store: Store,
    progress: Progress,
) -> TrainedBase:
    """Trains the model of `base`; without weights in it, from random ones.

    Both data sets have the columns `tokens` (list of int32) and `count` (tokens with the separator). Raises UserError
    where the run ends without a model.
    """
    tokens = int(cast(Any, training.sum("count")) or 0)
    steps = settings.steps(tokens)
    step_progress = ray.remote(cast(Any, StepProgress)).options(num_cpus=0).remote()
    config = WorkerConfig(
        settings=settings,
        base=ray.put(base),
        steps=steps,
        # a Dataset for each worker, not Ray Train's common split: with that a worker at the end of its epoch waits for
        # the others, which wait for it in the middle of a step
        shards=training.split(settings.workers, equal=True),
        held_out=held_out,
        progress=step_progress,
    )
    step_name = settings.name.partition("-")[0]
    progress.start(step_name, steps, f"{steps:,} steps on {settings.workers} workers")
    result = _fit(config, store, progress)
    if result.checkpoint is None:
        raise UserError(f"{step_name}: the run ended without a model; see {store.path('work')}")
    metrics = {"training_tokens": tokens, "steps": steps} | dict(result.metrics or {})
    return TrainedBase(_load(base, result.checkpoint), cast(BaseMetrics, metrics))


def _fit(config: WorkerConfig, store: Store, progress: Progress) -> ray.train.Result:
    """Runs Ray Train in a thread of its own and shows the workers' progress meanwhile."""
    trainer = TorchTrainer(
        cast(Any, run_worker),
        train_loop_config={"config": config},
        scaling_config=_scaling(config.settings.workers),
        run_config=ray.train.RunConfig(
            name=config.settings.name,
            storage_path=store.path("work"),
            storage_filesystem=store.filesystem,
            checkpoint_config=ray.train.CheckpointConfig(num_to_keep=2),
            failure_config=ray.train.FailureConfig(max_failures=3),
        ),
    )
    with ThreadPoolExecutor(1) as pool:
        fitting = pool.submit(trainer.fit)
        while not fitting.done():
            step, text = cast(tuple[int, str], ray.get(config.progress.get.remote()))
            if step > progress.done:
                progress.advance(text, count=step - progress.done)
            time.sleep(1)
        return fitting.result()


def _scaling(workers: int) -> ray.train.ScalingConfig:
    gpus, _ = capacity()
    return ray.train.ScalingConfig(
        num_workers=workers,
        use_gpu=gpus > 0,
        # less than a core each, so that the tasks that read the workers' data find room on a full machine
        resources_per_worker={"CPU": 0.5} | ({"GPU": 1} if gpus else {}),
    )


def _load(base: ModelFolder, checkpoint: ray.train.Checkpoint) -> Any:
    from safetensors.torch import load_file

    model = load_network(base)
    with checkpoint.as_directory() as folder:
        model.load_state_dict(load_file(Path(folder) / "weights.safetensors"))
    return model
