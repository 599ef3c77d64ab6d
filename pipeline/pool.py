"""Work on many bots at once: Ray Data over a pool of actors that hold the base model.

    class Measure(Worker):
        def setup(self): ...                   # once per actor: load what is slow to load
        def work(self, task): return {…}       # per bot

    for row in each(Measure, job, tasks): row["bot"], row["result"], row["error"]

One bot's failure is a row with an error; the others go on.
"""

import json
from collections.abc import Iterator
from typing import Any

import ray
import ray.data

from pipeline.errors import one_line
from pipeline.plan import Job


class Worker:
    """An actor of the pool; subclasses say what to set up and what to do for a task."""

    def __init__(self, job: Job, base: Any):
        self.job, self.store, self.settings = job, job.store, job.train
        self.base: dict[str, bytes] = ray.get(base)
        self.setup()

    def setup(self) -> None: ...

    def work(self, task: dict[str, Any]) -> dict[str, Any]:
        raise NotImplementedError

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[str]]:
        rows: dict[str, list[str]] = {"bot": [], "result": [], "error": []}
        for text in batch["task"]:
            task = json.loads(text)
            result: dict[str, Any] = {}
            error = ""
            try:
                result = self.work(task)
            except Exception as problem:
                error = one_line(problem)
            rows["bot"].append(task["bot"])
            rows["result"].append(json.dumps(result))
            rows["error"].append(error)
        return rows


def each(worker: type[Worker], job: Job, tasks: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Runs every task on a pool as large as the cluster; rows come as they are done, in any order."""
    if not tasks:
        return
    resources = ray.cluster_resources()
    gpus = int(resources.get("GPU", 0))
    size = max(1, min(len(tasks), gpus or int(resources.get("CPU", 1))))
    source = ray.data.from_items([{"task": json.dumps(task)} for task in tasks], override_num_blocks=len(tasks))
    light = job.without_base()
    rows = source.map_batches(
        worker,
        fn_constructor_kwargs={"job": light, "base": ray.put(job.base)},
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(size=size),
        num_cpus=0.5,
        num_gpus=1 if gpus else 0,
    ).iter_rows()
    for row in rows:
        yield {"bot": row["bot"], "result": json.loads(row["result"]), "error": row["error"]}
