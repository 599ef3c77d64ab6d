"""The worker that measures bots and publishes each as soon as it is measured.

worker = EvaluateAndPublish(job, block_list=None)            # in an actor of core.actor_pool
evaluated = worker.work(task)
evaluated.metrics["held_out"], evaluated.problem
"""

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from pipeline.core import actor_pool, logs
from pipeline.core.bot_files import Metrics
from pipeline.core.errors import one_line
from pipeline.core.json_file import json_bytes
from pipeline.core.model_folder import WEIGHTS
from pipeline.evaluate.measurer import Measurer
from pipeline.plan.job import Job
from pipeline.publish.card import CardFacts
from pipeline.publish.publishing import Publisher, PublishTask


@dataclass(frozen=True)
class EvaluateTask:
    """A bot to measure."""

    facts: CardFacts
    folder: str  # in the store, with the weights and the metrics: the published one, or the trained one
    published: bool  # which of the two
    continued: bool  # whether it continues from its last version
    group: str | None  # the voice group in which it is judged; None in a fleet of one person
    publish: PublishTask | None  # publish it as soon as it is measured


@dataclass(frozen=True)
class Evaluated:
    """A measured bot."""

    metrics: Metrics  # the entries of metrics.json that were measured
    seconds: dict[str, float]  # by step: evaluate and, if it was published, publish
    problem: str | None = None  # why it was not published


class EvaluateAndPublish(actor_pool.Worker[EvaluateTask, Evaluated]):
    """Measures a bot, stores its metrics and, where the task says so, publishes it."""

    verb = "measured"

    def __init__(self, job: Job, block_list: frozenset[str] | None, beside_lanes: bool = False):
        """`beside_lanes`: lanes share this process's GPU, so that it takes a part of the memory only."""
        self.job, self.store = job, job.store
        self.measurer = Measurer(job, block_list, beside_lanes)
        self.publisher = Publisher(job)

    def log(self, task: EvaluateTask) -> Any:
        """A logger whose lines name the bot."""
        return logs.log(fleet=self.job.fleet.fleet, bot=task.facts.bot, version=task.facts.version)

    def work(self, task: EvaluateTask) -> Evaluated:
        """Measures one bot; a bot that cannot be published is measured all the same, with the problem."""
        if task.publish and not self.store.exists(_metrics_file(task)):
            # an earlier try published it, and its worker died before it could report
            metrics = cast(Metrics, self.store.read_json(f"{task.publish.folder}/metrics.json"))
            return Evaluated(metrics, {"evaluate": 0.0})
        with tempfile.TemporaryDirectory() as scratch:
            started = time.perf_counter()
            weights = self._fetch_weights(task.folder, Path(scratch))
            metrics = self.measurer.measure(task.folder, weights, task.facts.handles, task.group, task.continued)
            self._save(task, metrics)
            seconds = {"evaluate": round(time.perf_counter() - started, 3)}
            return self._publish(task, weights, metrics, seconds)

    def _fetch_weights(self, folder: str, scratch: Path) -> Path:
        """The file of a bot's weights on this machine: in `scratch`, or a local store's own."""
        if self.store.local:
            return Path(self.store.path(f"{folder}/{WEIGHTS}"))
        path = scratch / WEIGHTS
        path.write_bytes(self.store.read(f"{folder}/{WEIGHTS}"))
        return path

    def _publish(self, task: EvaluateTask, weights: Path, metrics: Metrics, seconds: dict[str, float]) -> Evaluated:
        """The measured bot, published where the task says so."""
        if task.publish is None:
            return Evaluated(metrics, seconds)
        started = time.perf_counter()
        try:
            self.publisher.publish(task.publish, weights)
        except Exception as error:
            problem = f"not published: {one_line(error)}"
            self.log(task).warning(problem)
            return Evaluated(metrics, seconds, problem)
        seconds["publish"] = round(time.perf_counter() - started, 3)
        self.log(task).info("published in %.1f s", seconds["publish"])
        return Evaluated(metrics, seconds)

    def _save(self, task: EvaluateTask, measured: Metrics) -> None:
        """Adds what was measured to the bot's metrics; the card of a published bot shows it, too."""
        name = _metrics_file(task)
        content = self.store.read_json(name)
        if not task.published:
            metrics = content.get("metrics", {}) | measured
            self.store.write(name, json_bytes(content | {"metrics": metrics}))
            return
        self.store.write(name, json_bytes(content | measured))
        self.publisher.renew_card(task.facts, task.folder)


def _metrics_file(task: EvaluateTask) -> str:
    return f"{task.folder}/{'metrics.json' if task.published else 'training.json'}"
