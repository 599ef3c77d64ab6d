"""One command at a time on a fleet: a lease in the store, renewed while the command runs.

    with held(store, "run", wait=False, say=print) as lease:
        lease.check()           # raises UserError if another command took the fleet over meanwhile

A command writes a claim, a small file in work/lease/, and then lists the folder. Where no other claim is there, the
command holds the lease. Of two commands that claim at once at least one sees the other's claim. The one whose claim has
the first name then keeps it and looks again, and the other takes its own back. This needs nothing of the store but that
a listing shows what was written before it, which disks, S3 and GCS all promise; pyarrow offers no conditional writes.

A claim has ended when its process is gone (seen from the same machine), or when it was not renewed for a minute by the
store's own clock. Claims have names of their own, so removing an ended one never removes a newer one.
"""

import getpass
import json
import os
import random
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path

import psutil

from pipeline.core.errors import UserError
from pipeline.core.store import Store

FOLDER = "work/lease"
END_SECONDS = 60.0  # without a renewal, after which a lease has ended
RENEWAL_SECONDS = 5.0
_CLOCK_STEP_SECONDS = 60.0  # by which the machine's clock may have been set since the lease was taken
_PAUSE_SECONDS = (0.3, 1.5)  # between two tries


@dataclass(frozen=True)
class Claim:
    """The content of a claim's file."""

    command: str
    owner: str  # user@host
    machine: str  # see `_this_machine`
    pid: int
    process_started: float  # with the pid, it names a process of this machine
    since: float = 0.0  # when the lease was taken, by the store's clock; 0: it is only wanted

    def has_ended(self, age: float, machine: str) -> bool:
        """Whether its command is gone, as seen from `machine`. `age`: the seconds since it was last renewed."""
        return not _is_running(self.pid, self.process_started) if self.machine == machine else age > END_SECONDS

    def __str__(self) -> str:
        since = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(self.since))
        return f"`{self.command}` of {self.owner} (process {self.pid}), since {since}"


class Lease:
    """One command's lease of a fleet."""

    def __init__(self, store: Store, command: str):
        self.store, self.id = store, uuid.uuid4().hex
        process = psutil.Process()
        self.claim = Claim(command, _owner(), _this_machine(), process.pid, process.create_time())
        self.lost = ""  # why the command has to end
        self._ended = threading.Event()
        self._renewals = threading.Thread(target=self._renew_until_ended, daemon=True, name="lease")

    def check(self) -> None:
        """Raises UserError if another command took the fleet over, because this one could not renew its lease."""
        if self.lost:
            raise UserError(self.lost)

    def acquire(self, wait: bool, say: Callable[[str], None]) -> None:
        """Takes the lease; with `wait` as soon as no other command has it. Raises UserError if one has it.

        A holder on another machine may have been killed: it is given the time to renew its lease.
        """
        first_seen: dict[str, float] = {}  # when each holder had renewed its claim last
        reported = ""
        while blocking := self._try():
            for name, (claim, renewed) in blocking.items():
                if not claim.since:
                    continue  # a command that tries at the same moment
                in_use = f"fleet {self.store.fleet} is in use by {claim}"
                alive = claim.machine == self.claim.machine or renewed > first_seen.setdefault(name, renewed)
                if alive and not wait:
                    raise UserError(f"{in_use}; run this command again when that has ended, or add --wait")
                if reported != name:
                    say(f"{in_use}; waiting for its end" + ("" if wait else f", up to {END_SECONDS:.0f} s if it died"))
                    reported = name
            time.sleep(random.uniform(*_PAUSE_SECONDS))
        self._renewals.start()

    def release(self) -> None:
        """Gives the lease back."""
        self._ended.set()
        if self._renewals.is_alive():
            self._renewals.join(timeout=2 * RENEWAL_SECONDS)
        else:
            self._withdraw()

    @property
    def _file(self) -> str:
        return f"{FOLDER}/{self.id}.json"

    def _try(self) -> dict[str, tuple[Claim, float]]:
        """Claims the lease. Returns the claims that stand in the way, each with its last renewal.

        The claim stays only where others want the lease at the same moment and this claim's name comes first, so that
        of several commands one always gets it.
        """
        self._write()
        now, others = self._others()
        if others:
            if any(claim.since or name < f"{self.id}.json" for name, (claim, _) in others.items()):
                self.store.delete(self._file)
            return others
        self.claim = replace(self.claim, since=now)
        self._write()
        return {}

    def _write(self) -> None:
        self.store.write(self._file, json.dumps(asdict(self.claim)).encode())

    def _others(self) -> tuple[float, dict[str, tuple[Claim, float]]]:
        """The time by the store's clock, just after `_write`, and the others' claims; deletes those that have ended."""
        renewed = self.store.modified(FOLDER)
        now = renewed.pop(f"{self.id}.json", time.time())
        others = {}
        for name, at in renewed.items():
            content = self.store.read_json(f"{FOLDER}/{name}")
            if not content:
                continue  # given back since the listing
            claim = Claim(**content)
            if claim.has_ended(now - at, self.claim.machine):
                self.store.delete(f"{FOLDER}/{name}")
            else:
                others[name] = claim, at
        return now, others

    def _renew_until_ended(self) -> None:
        while not self.lost and not self._ended.wait(RENEWAL_SECONDS):
            with suppress(OSError):  # the store is away: the next renewal may reach it
                self._renew()
        self._withdraw()  # in this thread, so that no renewal that is still under way writes the claim again

    def _withdraw(self) -> None:
        with suppress(OSError):  # it ends by itself
            self.store.delete(self._file)

    def _renew(self) -> None:
        taken = not self.store.exists(self._file)
        if not taken:
            self._write()
        later = [claim for claim, _ in self._others()[1].values() if claim.since > self.claim.since]
        if taken or later:
            by = f" by {later[0]}" if later else ""
            self.lost = (
                f"fleet {self.store.fleet} was taken over{by}, because this command could not renew its lease for "
                f"{END_SECONDS:.0f} s; run it again to make what is missing"
            )


@contextmanager
def held(
    store: Store, command: str, wait: bool = False, say: Callable[[str], None] = lambda line: None
) -> Iterator[Lease]:
    """Holds the fleet's lease for the block. `command` is shown to others that ask; `say` reports why it waits.

    Raises UserError that names the holder if another command has the lease and `wait` is false.
    """
    lease = Lease(store, command)
    try:
        lease.acquire(wait, say)
        yield lease
    finally:
        lease.release()


def _is_running(pid: int, started: float) -> bool:
    """Whether this process of this machine still runs. Where the machine's clock is set, start times move with it."""
    tolerance = 1.0 if pid == os.getpid() else _CLOCK_STEP_SECONDS
    try:
        process = psutil.Process(pid)
        return abs(process.create_time() - started) < tolerance and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@cache
def _this_machine() -> str:
    """A name for where process ids mean the same: the host and, on Linux, its boot and the namespace of its pids."""
    boot, namespace = Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/pid")
    parts = [socket.gethostname(), str(uuid.getnode())]
    with suppress(OSError):
        parts = [socket.gethostname(), boot.read_text().strip(), str(namespace.readlink())]
    return " ".join(parts)


def _owner() -> str:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        user = "somebody"
    return f"{user}@{socket.gethostname()}"
