"""Work on many bots at once: Ray Data over a pool of actors, each of which keeps what is slow to load.

    class Measure(Worker[Job]):
        def setup(self):                        # once for each actor
            self.network = load_model(self.job.base.write(folder))

        def work(self, task):                   # for each bot
            return {"loss": …}

    for row in each(Measure, job, [{"bot": "nasa"}]):
        row["bot"], row["result"], row["error"]

A task that fails gives a row with its error; the others are not affected. Tasks are a list, or a Feed that is filled
while others are worked on.
"""

import json
import time
from collections.abc import Iterator
from typing import Any, Generic, Protocol, TypedDict, TypeVar, cast

import ray
import ray.data

from pipeline.core import logs, ray_session
from pipeline.core.errors import one_line
from pipeline.core.fleet import Fleet
from pipeline.core.settings import Train
from pipeline.core.store import Store

_POLL = 0.3  # seconds


class Job(Protocol):
    """What a worker needs to know of a fleet; `pipeline.plan.job.Job` has it."""

    @property
    def fleet(self) -> Fleet:
        """The fleet file."""

    @property
    def store(self) -> Store:
        """The fleet's store."""

    @property
    def train(self) -> Train:
        """The training settings."""


J = TypeVar("J", bound=Job)


class Row(TypedDict):
    """What became of one task."""

    bot: str
    result: dict[str, Any]  # what `Worker.work` returned; {} where it failed
    error: str  # in one line; "" where it succeeded


class Worker(Generic[J]):
    """An actor of the pool. Subclasses define `setup` and `work`."""

    did = "worked"  # the verb in log lines
    on_gpu = True  # whether a worker takes a GPU, where the cluster has some

    def __init__(self, job: "J | ray.ObjectRef[J]", extra: dict[str, Any]):
        """`job`: itself or a reference to it; `extra`: the keyword arguments of `each`."""
        self.job: J = ray.get(job) if isinstance(job, ray.ObjectRef) else job
        self.store, self.settings, self.extra = self.job.store, self.job.train, extra
        self.setup()

    def setup(self) -> None:
        """Loads what all tasks need; called once, before the first task."""

    def work(self, task: dict[str, Any]) -> dict[str, Any]:
        """Does one task and returns its result, which must be JSON. Any exception fails this task only."""
        raise NotImplementedError

    def log(self, task: dict[str, Any]) -> Any:
        """Returns the log for lines about a task's bot."""
        return logs.log(fleet=self.job.fleet.fleet, bot=task["bot"], version=task.get("version"))

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[str]]:
        """Does the tasks of a batch: Ray Data calls this."""
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


def each(worker: type[Worker[J]], job: J, tasks: Any, *, beside: bool = False, **extra: Any) -> Iterator[Row]:
    """Runs every task on a pool of actors and yields a row for each as it is done, in any order.

    `tasks` is a list of dicts with a "bot", or a `feed()`. The pool has a worker on each GPU of the cluster, or on each
    core if there are none or the worker needs none. With `beside` it runs beside the training lanes: half as many
    workers, on cores only, that reserve no resources, so that lanes which start again find theirs free.
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
        source.context.target_max_block_size = 1  # each task is a block of its own and is passed on at once
        source = source.map_batches(cast(Any, _drain), batch_size=None, num_cpus=0, fn_kwargs={"feed": tasks})
    rows = source.map_batches(
        worker,
        fn_constructor_kwargs={"job": ray.put(job), "extra": extra},
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(size=size),
        num_cpus=0 if beside else 0.5,
        num_gpus=1 if gpus else 0,
    ).iter_rows()
    for row in rows:
        yield {"bot": row["bot"], "result": json.loads(row["result"]), "error": row["error"]}


class Feed:
    """A list of tasks that grows while the pool works: an actor between those who find tasks and the pool."""

    def __init__(self) -> None:
        self.tasks: list[str] = []
        self.closed = False

    def put(self, task: dict[str, Any]) -> None:
        """Adds a task."""
        self.tasks.append(json.dumps(task))

    def close(self) -> None:
        """States that no more tasks will come."""
        self.closed = True

    def after(self, count: int) -> tuple[list[str], bool]:
        """Returns the tasks after the first `count`, and whether these are the last."""
        return self.tasks[count:], self.closed


def feed() -> Any:
    """Starts a `Feed` actor that reserves no core, on this node, since other nodes may go away."""
    here = {"ray.io/node-id": ray.get_runtime_context().get_node_id()}
    return ray.remote(cast(Any, Feed)).options(num_cpus=0, label_selector=here).remote()


def _drain(batch: Any, feed: Any) -> Iterator[dict[str, list[str]]]:
    """Yields the feed's tasks as they come, until it is closed."""
    count, last = 0, False
    while not last:
        tasks, last = ray.get(feed.after.remote(count))
        count += len(tasks)
        for task in tasks:
            yield {"task": [task]}
        if not tasks:
            time.sleep(_POLL)
