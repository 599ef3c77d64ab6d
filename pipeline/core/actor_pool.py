"""Work on many bots at once: Ray Data over a pool of actors that hold the base model.

    class Measure(Worker):
        def setup(self): ...                   # once per actor: load what is slow to load
        def work(self, task): return {…}       # per bot

    for row in each(Measure, job, tasks): row["bot"], row["result"], row["error"]

One bot's failure is a row with an error; the others go on. Tasks are a list, or a Feed that fills while others
are worked on.
"""

import json
import time
from collections.abc import Iterator
from typing import Any, Generic, Protocol, Self, TypeVar, cast

import ray
import ray.data

from pipeline.core import logs, ray_session
from pipeline.core.errors import one_line
from pipeline.core.fleet import Fleet
from pipeline.core.settings import Train
from pipeline.core.store import Store

_POLL = 0.3  # seconds


class Job(Protocol):
    """What an actor needs to know of the fleet (pipeline/plan/job.py has the class)."""

    @property
    def fleet(self) -> Fleet: ...

    @property
    def store(self) -> Store: ...

    @property
    def train(self) -> Train: ...

    @property
    def base(self) -> dict[str, bytes]: ...

    def without_base(self) -> Self: ...


J = TypeVar("J", bound=Job)


class Worker(Generic[J]):
    """An actor of the pool; subclasses say what to set up and what to do for a task."""

    did = "worked"  # for the log
    on_gpu = True  # where there is one

    def __init__(self, job: J, base: Any, extra: dict[str, Any]):
        """`base`: the base model's files, or an object reference to them."""
        self.job, self.store, self.settings, self.extra = job, job.store, job.train, extra
        self.base: dict[str, bytes] = ray.get(base) if isinstance(base, ray.ObjectRef) else base
        self.setup()

    def setup(self) -> None: ...

    def work(self, task: dict[str, Any]) -> dict[str, Any]:
        raise NotImplementedError

    def log(self, task: dict[str, Any]) -> Any:
        return logs.log(fleet=self.job.fleet.fleet, bot=task["bot"], version=task.get("version"))

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[str]]:
        rows: dict[str, list[str]] = {"bot": [], "result": [], "error": []}
        for text in batch["task"]:
            task, began = json.loads(text), time.perf_counter()
            result: dict[str, Any] = {}
            error = ""
            try:
                result = self.work(task)
                self.log(task).info("%s in %.1f s", self.did, time.perf_counter() - began)
            except Exception as problem:
                error = one_line(problem)
                self.log(task).warning("not %s: %s", self.did, error)
            rows["bot"].append(task["bot"])
            rows["result"].append(json.dumps(result))
            rows["error"].append(error)
        return rows


class Feed:
    """Tasks that come while others are worked on; an actor between whoever finds them and the pool."""

    def __init__(self) -> None:
        self.tasks: list[str] = []
        self.closed = False

    def put(self, task: dict[str, Any]) -> None:
        self.tasks.append(json.dumps(task))

    def close(self) -> None:
        self.closed = True

    def after(self, count: int) -> tuple[list[str], bool]:
        """The tasks after the first `count`, and whether these are the last."""
        return self.tasks[count:], self.closed


def feed() -> Any:
    """A Feed actor, on no core of its own, on this node: another one may go away."""
    here = {"ray.io/node-id": ray.get_runtime_context().get_node_id()}
    return ray.remote(cast(Any, Feed)).options(num_cpus=0, label_selector=here).remote()


def each(
    worker: type[Worker[J]], job: J, tasks: Any, *, beside: bool = False, **extra: Any
) -> Iterator[dict[str, Any]]:
    """Runs every task on a pool of actors; rows come as they are done, in any order.

    `tasks`: a list or a `feed()`. The pool is as large as the cluster, a worker on each GPU, or on each core where
    there is none or the work wants none; `beside` other work it is half as large, on cores alone, and claims none:
    lanes that start again must find theirs free.
    """
    if tasks == []:
        return
    gpus, cores = ray_session.capacity()
    gpus = gpus if worker.on_gpu and not beside else 0
    size = max(1, gpus or cores // (2 if beside else 1))
    source: ray.data.Dataset
    if isinstance(tasks, list):
        size = min(size, len(tasks))
        source = ray.data.from_items([{"task": json.dumps(task)} for task in tasks], override_num_blocks=len(tasks))
    else:
        source = ray.data.from_items([{"feed": 0}])
        source.context.target_max_block_size = 1  # a block a task, handed on at once
        source = source.map_batches(cast(Any, _drain), batch_size=None, num_cpus=0, fn_kwargs={"feed": tasks})
    rows = source.map_batches(
        worker,
        fn_constructor_kwargs={"job": job.without_base(), "base": ray.put(job.base), "extra": extra},
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(size=size),
        num_cpus=0 if beside else 0.5,
        num_gpus=1 if gpus else 0,
    ).iter_rows()
    for row in rows:
        yield {"bot": row["bot"], "result": json.loads(row["result"]), "error": row["error"]}


def _drain(batch: Any, feed: Any) -> Iterator[dict[str, list[str]]]:
    """The feed's tasks as they come, until it is closed."""
    count, last = 0, False
    while not last:
        tasks, last = ray.get(feed.after.remote(count))
        count += len(tasks)
        for task in tasks:
            yield {"task": [task]}
        if not tasks:
            time.sleep(_POLL)
