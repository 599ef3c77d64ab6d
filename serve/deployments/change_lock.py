"""One command at a time changes what a cluster serves, on whatever machine it runs.

    with change_lock(wait_seconds=600): ...

Two that deploy at once would each wait for applications that the other has just replaced. The lock is a row of keys in
Ray's key-value store, `1`, `2` …, each with the Ray job of its holder. The highest key says who holds the lock. A
command that finds it released, or its job ended, creates the next key; of several that try, the store lets one succeed.
So a command that is killed leaves no lock behind.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from pipeline.core import ray_internals
from pipeline.core.errors import UserError

_PREFIX = "huggingtweets:change:"
_RELEASED = b"released"
_POLL_SECONDS = 0.2


@contextmanager
def change_lock(wait_seconds: float) -> Iterator[None]:
    """Holds the cluster's lock for the length of the block. Raises UserError after `wait_seconds`."""
    deadline = time.monotonic() + wait_seconds
    while not (key := _acquired()):
        if time.monotonic() > deadline:
            raise UserError(
                f"another command has been changing what this cluster serves for {wait_seconds:.0f} seconds"
            )
        time.sleep(_POLL_SECONDS)
    try:
        yield
    finally:
        ray_internals.kv_put(key, _RELEASED)


def _acquired() -> str:
    """The key of this process, if it is the holder now; else ""."""
    held = ray_internals.kv_items(_PREFIX)
    last = max((_number(key) for key in held), default=0)
    if last:
        holder = held[f"{_PREFIX}{last}"]
        if holder != _RELEASED and ray_internals.job_is_running(holder.decode()):
            return ""
    own = f"{_PREFIX}{last + 1}"
    if not ray_internals.kv_create(own, ray_internals.job_id().encode()):
        return ""
    if max(map(_number, ray_internals.kv_items(_PREFIX))) > last + 1:  # others came and went since the first look
        ray_internals.kv_delete(own)
        return ""
    for key in held:
        ray_internals.kv_delete(key)
    return own


def _number(key: str) -> int:
    return int(key.removeprefix(_PREFIX))
