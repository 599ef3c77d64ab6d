"""Runs tasks, mostly one for each bot, on a pool of Ray actors that load what is slow to load once.

    class Measure(Worker[Task, Metrics]):
        def __init__(self, base): ...              # once in each actor
        def work(self, task): return Metrics(…)    # for each task
        def log(self, task): return logs.log(bot=task.bot)

    for task, result in run_tasks(Measure, tasks, base=base):
        print(task.bot, result.reason if isinstance(result, Failed) else result.loss)

A task that raises an error gives `Failed`; the others are not affected. Tasks are a list, or a `Feed` to which more are
added while the first ones are worked on.
"""

import logging
import pickle
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar, cast

import ray
import ray.data

from pipeline.core.errors import one_line
from pipeline.core.ray_session import capacity, this_node

_POLL_SECONDS = 0.3

TaskT = TypeVar("TaskT")
ResultT = TypeVar("ResultT")


class Worker(Generic[TaskT, ResultT]):
    """What each actor does. Its constructor gets the arguments of `run_tasks`; tasks and results are pickled."""

    verb: ClassVar[str] = "done"  # for the log: "measured in 3.2 s"
    uses_gpu: ClassVar[bool] = True  # where the cluster has GPUs

    def work(self, task: TaskT) -> ResultT:
        """The result of one task; an error makes the task `Failed`."""
        raise NotImplementedError

    def log(self, task: TaskT) -> Any:
        """A logger whose lines name the fleet, the bot … of this task."""
        raise NotImplementedError


@dataclass(frozen=True)
class Failed:
    """The result of a task that raised an error: the error in one line."""

    reason: str


class Feed(Generic[TaskT]):
    """Tasks that may be added, from any thread, while earlier ones are worked on."""

    def __init__(self) -> None:
        # on the node of the driver, with which it ends; it needs no core
        self.actor: Any = ray.remote(cast(Any, _FeedActor)).options(num_cpus=0, label_selector=this_node()).remote()

    def add(self, task: TaskT) -> None:
        """Adds a task at the end."""
        self.actor.add.remote(pickle.dumps(task))

    def close(self) -> None:
        """No task is added after this: the pool ends once it has done those that were added."""
        self.actor.close.remote()

    def abort(self) -> None:
        """Ends the pool now: without its feed Ray Data's executor fails, and `run_tasks` raises that error."""
        logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # it would print the error's trace
        ray.kill(self.actor)


def run_tasks(
    worker: type[Worker[TaskT, ResultT]],
    tasks: Sequence[TaskT] | Feed[TaskT],
    *,
    beside_training: bool = False,
    workers_per_gpu: int = 4,
    **arguments: Any,
) -> Iterator[tuple[TaskT, ResultT | Failed]]:
    """Runs every task on a pool of `worker(**arguments)`; yields (task, result) in the order in which they are done.

    The pool has an actor for each GPU of the cluster, or for each core where there are no GPUs or the worker uses
    none. `beside_training` reserves nothing, so that lanes that start again find their cores free; the pool then has
    `workers_per_gpu`, or an actor for every second core where there are no GPUs.
    """
    if not isinstance(tasks, Feed) and not tasks:
        return
    gpus, cores = capacity()
    gpus = gpus if worker.uses_gpu else 0
    size = _pool_size(gpus, cores, workers_per_gpu if beside_training else None)
    source: ray.data.Dataset
    if isinstance(tasks, Feed):
        source = ray.data.from_items([{"feed": 0}])
        source.context.target_max_block_size = 1  # a block for each task, passed on at once
        source = source.map_batches(cast(Any, _read), batch_size=None, num_cpus=0, fn_kwargs={"feed": tasks.actor})
    else:
        size = min(size, len(tasks))
        rows = [{"task": pickle.dumps(task)} for task in tasks]
        source = ray.data.from_items(rows, override_num_blocks=len(tasks))
    results = source.map_batches(
        _Actor,
        # in Ray's object store, once: a base model is too large to travel with every actor
        fn_constructor_kwargs={"worker": worker, "arguments": [ray.put(arguments)]},
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(size=size),
        num_cpus=0 if beside_training else 0.5,
        num_gpus=1 if gpus and not beside_training else 0,
    )
    for row in results.iter_rows():
        yield pickle.loads(row["task"]), pickle.loads(row["result"])


def _pool_size(gpus: int, cores: int, beside_training: int | None) -> int:
    """How many actors a pool has; `gpus` that its worker uses. `beside_training`: how many for each GPU, at most."""
    if beside_training is None:
        return max(1, gpus or cores)
    return max(1, min(cores // 2, beside_training * gpus) if gpus else cores // 2)


class _Actor:
    """What Ray Data runs: a worker, called with batches of pickled tasks."""

    def __init__(self, worker: type[Worker[Any, Any]], arguments: list[Any]):
        self.worker = worker(**ray.get(arguments[0]))

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[bytes]]:
        results = [pickle.dumps(self._result(pickle.loads(task))) for task in batch["task"]]
        return {"task": list(batch["task"]), "result": results}

    def _result(self, task: Any) -> Any:
        started = time.perf_counter()
        try:
            result = self.worker.work(task)
        except Exception as error:
            self.worker.log(task).warning("not %s: %s", self.worker.verb, one_line(error))
            return Failed(one_line(error))
        self.worker.log(task).info("%s in %.1f s", self.worker.verb, time.perf_counter() - started)
        return result


class _FeedActor:
    """A feed's tasks, pickled, between the threads that add them and the pool that reads them."""

    def __init__(self) -> None:
        self.tasks: list[bytes] = []
        self.closed = False

    def add(self, task: bytes) -> None:
        self.tasks.append(task)

    def close(self) -> None:
        self.closed = True

    def after(self, count: int) -> tuple[list[bytes], bool]:
        """The tasks after the first `count`, and whether the feed is closed."""
        return self.tasks[count:], self.closed


def _read(batch: Any, feed: Any) -> Iterator[dict[str, list[bytes]]]:
    """A feed's tasks as they are added, until it is closed."""
    count, closed = 0, False
    while not closed:
        tasks, closed = ray.get(feed.after.remote(count))
        count += len(tasks)
        for task in tasks:
            yield {"task": [task]}
        if not tasks:
            time.sleep(_POLL_SECONDS)
