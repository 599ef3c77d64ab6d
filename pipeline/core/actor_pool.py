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

import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar, cast

import ray
from ray.exceptions import RayError

from pipeline.core.errors import one_line
from pipeline.core.ray_session import capacity

_POLL_SECONDS = 0.3
_RETRIES = 3  # of a task whose actor died

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

    def __init__(self, tasks: Sequence[TaskT] = (), most: int = sys.maxsize) -> None:
        """`most`: how many tasks there will be at most, so that the pool has no actor without work."""
        self.tasks = deque(tasks)  # not given to a worker yet
        self.most = most
        self.closed = self.aborted = False

    def add(self, task: TaskT) -> None:
        """Adds a task at the end."""
        self.tasks.append(task)

    def close(self) -> None:
        """No task is added after this: the pool ends once it has done those that were added."""
        self.closed = True

    def abort(self) -> None:
        """Ends the pool now: `run_tasks` raises an error."""
        self.aborted = True


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
    `workers_per_gpu`, or an actor for every second core where there are no GPUs. Where an actor or its node dies, Ray
    starts it again and it repeats its task; a task that ends its process each time fails alone. Raises the
    constructor's error if no actor can be set up.
    """
    if not isinstance(tasks, Feed):
        if not tasks:
            return
        feed = Feed(tasks, most=len(tasks))
        feed.close()
    else:
        feed = tasks
    gpus, cores = capacity()
    gpus = gpus if worker.uses_gpu else 0
    size = min(feed.most, _pool_size(gpus, cores, workers_per_gpu if beside_training else None))
    actor_class: Any = ray.remote(cast(Any, PoolActor)).options(
        num_cpus=0 if beside_training else 0.5,
        num_gpus=1 if gpus and not beside_training else 0,
        max_restarts=-1,
        max_task_retries=_RETRIES,
        scheduling_strategy="SPREAD",
    )
    actors = [actor_class.remote() for _ in range(size)]
    try:
        # in Ray's object store, once: a base model is too large to travel with every actor
        yield from _results(actors, _SetUp(worker, ray.put(arguments)), feed)
    finally:
        for actor in actors:
            ray.kill(actor)


def _results(actors: list[Any], set_up: "_SetUp", feed: Feed[TaskT]) -> Iterator[tuple[TaskT, Any]]:
    """Gives each actor one task after another, and yields the results."""
    idle: list[Any] = []
    setting_up = {actor.ready.remote(set_up): actor for actor in actors}
    working: dict[Any, tuple[Any, TaskT]] = {}  # by the call's result: the actor, the task
    while not feed.closed or feed.tasks or working:  # in this order: tasks come before the feed is closed
        if feed.aborted:
            raise RuntimeError("the tasks were aborted")
        while idle and feed.tasks:
            actor, task = idle.pop(), feed.tasks.popleft()
            working[actor.work.remote(set_up, task)] = (actor, task)
        if not setting_up and not working:
            time.sleep(_POLL_SECONDS)  # for the next task
            continue
        for call in ray.wait([*setting_up, *working], timeout=_POLL_SECONDS)[0]:
            if call in setting_up:
                actor = setting_up.pop(call)
                try:
                    ray.get(call)
                    idle.append(actor)
                except RayError:
                    if not (idle or setting_up or working):
                        raise
                continue
            actor, task = working.pop(call)
            try:
                result = ray.get(call)
                idle.append(actor)
            except RayError as error:
                result = Failed(f"its worker died: {one_line(error)}")
                setting_up[actor.ready.remote(set_up)] = actor  # Ray starts it again
            yield task, result


def _pool_size(gpus: int, cores: int, beside_training: int | None) -> int:
    """How many actors a pool has; `gpus` that its worker uses. `beside_training`: how many for each GPU, at most."""
    if beside_training is None:
        return max(1, gpus or cores)
    return max(1, min(cores // 2, beside_training * gpus) if gpus else cores // 2)


@dataclass(frozen=True)
class _SetUp:
    """What an actor needs to set its worker up: the class, and its arguments in Ray's object store."""

    worker: type[Worker[Any, Any]]
    arguments: "ray.ObjectRef[dict[str, Any]]"


class PoolActor:
    """A worker in a process of its own.

    It is set up by the first call, not by its constructor: Ray starts an actor again with the constructor's arguments,
    and objects in its store may be lost by then.
    """

    def __init__(self) -> None:
        self.worker: Worker[Any, Any] | None = None

    def ready(self, set_up: _SetUp) -> None:
        """Sets the worker up."""
        self._worker(set_up)

    def work(self, set_up: _SetUp, task: Any) -> Any:
        """The result of a task, or `Failed`."""
        worker, started = self._worker(set_up), time.perf_counter()
        try:
            result = worker.work(task)
        except Exception as error:
            worker.log(task).warning("not %s: %s", worker.verb, one_line(error))
            return Failed(one_line(error))
        worker.log(task).info("%s in %.1f s", worker.verb, time.perf_counter() - started)
        return result

    def _worker(self, set_up: _SetUp) -> Worker[Any, Any]:
        if self.worker is None:
            self.worker = set_up.worker(**ray.get(set_up.arguments))
        return self.worker
