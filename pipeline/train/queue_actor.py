"""The fleet's queue as a Ray actor, which Ray starts again where it dies.

    actor = start_queue(tasks, retries=1, store=store)
    queue = remote_queue(actor)             # has the methods of Queue; each call waits for the actor's answer
    queue.status("", 0).waiting

The restarted actor finds in the store what is finished, and learns from the lanes' reports what they have in hand.
"""

import pickle
import zlib
from typing import Any, cast

import ray
from ray.actor import ActorHandle

from pipeline.core.ray_session import this_node
from pipeline.core.store import Store
from pipeline.train.queue import Queue
from pipeline.train.tasks import Task

# Ray keeps arguments of up to 100 KB, 10 MB in all, with the actor. Larger ones go to its object store, where they may
# be lost before the actor is started again.
_PIECE_BYTES = 90_000


class QueueActor(Queue):
    """The queue inside the actor."""

    def __init__(self, retries: int, store: Store, *pieces: bytes):
        """`pieces` are those of the compressed list of tasks."""
        super().__init__(pickle.loads(zlib.decompress(b"".join(pieces))), retries)
        if ray.get_runtime_context().was_current_actor_reconstructed:
            self.recover(store)


def start_queue(tasks: list[Task], retries: int, store: Store) -> ActorHandle:
    """Starts the actor on this process's node, with which it ends; it reserves no core."""
    actor = ray.remote(cast(Any, QueueActor))
    options = {"num_cpus": 0, "max_restarts": -1, "max_task_retries": -1, "label_selector": this_node()}
    pickled = zlib.compress(pickle.dumps(tasks))
    pieces = [pickled[start : start + _PIECE_BYTES] for start in range(0, len(pickled), _PIECE_BYTES)]
    return actor.options(**options).remote(retries, store, *pieces)


def remote_queue(actor: ActorHandle) -> Queue:
    """An object with the methods of Queue that calls the actor. Without the actor its calls raise Ray's errors."""
    return cast(Queue, _RemoteQueue(actor))


class _RemoteQueue:
    def __init__(self, actor: ActorHandle):
        self._actor = actor

    def __getattr__(self, name: str) -> Any:
        return lambda *arguments: ray.get(getattr(self._actor, name).remote(*arguments))
