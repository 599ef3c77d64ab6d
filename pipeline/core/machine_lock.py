"""A lock between the processes of one user on one machine, which ends with the process that holds it.

with machine_lock("deploy", wait_seconds=600, say=print): ...
"""

import fcntl
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.core.errors import UserError

_POLL_SECONDS = 0.2


@contextmanager
def machine_lock(name: str, wait_seconds: float, say: Callable[[str], None]) -> Iterator[None]:
    """Holds the lock of this name for the length of the block; `say` reports that it waits for another process.

    Raises UserError after `wait_seconds`.
    """
    path = Path(tempfile.gettempdir()) / f"huggingtweets-{name}-{os.getuid()}.lock"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        deadline, waits = time.monotonic() + wait_seconds, False
        while not _taken(descriptor):
            if not waits:
                say(f"another `{name}` is under way on this machine; waiting for its end")
                waits = True
            if time.monotonic() > deadline:
                raise UserError(
                    f"another `{name}` on this machine has not ended for {wait_seconds:.0f} seconds ({path})"
                )
            time.sleep(_POLL_SECONDS)
        yield
    finally:
        os.close(descriptor)


def _taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
