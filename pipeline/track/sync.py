"""Sends a fleet's written runs to W&B: producers before consumers, each batch under a timeout.

    sync(fleet, progress)                   # {"synced": 5, "waiting": 0, "problems": []}
    start_sync(fleet)                       # the same in a process of its own, as after a `run`

`huggingtweets sync fleet.yaml` calls the first. W&B marks each run that it has received, so a sync that was cut off
continues where it stopped.
"""

import contextlib
import fcntl
import netrc
import os
import re
import signal
import subprocess
import sys
import tempfile
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import TypedDict

from pyarrow import fs

from pipeline.core.errors import UserError, one_line
from pipeline.core.fleet import Fleet
from pipeline.core.progress import Progress
from pipeline.core.store import Store
from pipeline.track import lineage, stored_runs
from pipeline.track.stored_runs import FOLDER, StoredRuns

_BATCH = 20  # runs that one `wandb sync` sends
_PARALLEL = 4  # of them at a time: far below W&B's rate limits
_START_SECONDS, _RUN_SECONDS = 60, 30  # a batch's timeout: for the start, and for each run
_ANSWER_SECONDS = 20.0  # that the server may take to answer a probe


class SyncResult(TypedDict):
    """What a sync did: the numbers of runs sent and still to send, and what went wrong."""

    synced: int
    waiting: int
    problems: list[str]


def resolve_mode(mode: str) -> str:
    """The mode that `wandb.mode` means here: "auto" is online where there is a key, else offline."""
    return mode if mode != "auto" else "online" if has_key() else "offline"


def has_key() -> bool:
    """Whether this machine has a key for W&B: in WANDB_API_KEY, or in ~/.netrc by `wandb login`."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urllib.parse.urlsplit(_server()).hostname
    try:
        return netrc.netrc().authenticators(host or "") is not None
    except (OSError, netrc.NetrcParseError):
        return False


def _server() -> str:
    return os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")


def start_sync(fleet: Fleet) -> str:
    """Starts a process that syncs the fleet and outlives this one; returns a line that says where its output is."""
    output = Path(tempfile.mkdtemp(prefix="huggingtweets-sync-")) / "sync.log"
    with output.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "pipeline.track"],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    assert process.stdin is not None
    with process.stdin as pipe:
        pipe.write(fleet.model_dump_json().encode())
    return (
        f"process {process.pid} syncs in the background (output in {output}); `huggingtweets sync` sends what it leaves"
    )


def sync(fleet: Fleet, progress: Progress) -> SyncResult:
    """Writes the runs that are missing, then sends those that W&B does not have yet. Raises UserError without a key."""
    if not has_key():
        raise UserError("W&B needs a key to sync: WANDB_API_KEY, or `wandb login`")
    with _locked(store := Store.of(fleet)):
        return _sync(fleet, store, progress)


@contextmanager
def _locked(store: Store) -> Iterator[None]:
    """One sync of a fleet at a time, where the store is a disk: a second one waits, and finds nothing to send."""
    with contextlib.ExitStack() as stack:
        if store.local:
            path = Path(store.path(f"{FOLDER}/.lock"))
            path.parent.mkdir(parents=True, exist_ok=True)
            fcntl.flock(stack.enter_context(path.open("w")), fcntl.LOCK_EX)
        yield


def _sync(fleet: Fleet, store: Store, progress: Progress) -> SyncResult:
    problems = _write_missing(fleet)
    unsynced = stored_runs.unsynced(store)
    progress.start("sync", len(unsynced), f"{len(unsynced)} runs to {_server()}")
    sent = 0
    for batch in _batches(unsynced):
        problem = _unreachable() or _send(store, batch)
        done = stored_runs.synced(store).intersection(batch)
        sent += len(done)
        progress.advance(f"{len(done)} of {len(batch)} runs", len(done))
        if len(done) < len(batch):
            problems.append(problem)
            break  # later batches may use what this one did not deliver
    return {"synced": sent, "waiting": len(unsynced) - sent, "problems": problems}


def _write_missing(fleet: Fleet) -> list[str]:
    """Writes the runs that a crash left out; returns what went wrong."""
    stored, problems = StoredRuns.of(fleet), []
    rows = stored.store.read_json("report.json").get("bots", [])
    for bot in sorted(lineage.chosen((row["bot"] for row in rows), fleet.wandb.max_runs)):
        version = stored.store.current_version(bot)
        if version and not stored.has(bot, version):
            try:
                stored.write_bot(bot, version)
            except Exception as error:
                problems.append(f"{bot}: {one_line(error)}")
    stored.write_fleet(rows)
    return problems


def _batches(names: list[str]) -> Iterator[list[str]]:
    """Data sets, then bots, then the fleet: a run that makes an artifact is sent before those that use it."""

    def order(name: str) -> int:
        return lineage.sync_order(stored_runs.id_of(name))

    for _, same in groupby(sorted(names, key=order), key=order):
        part = list(same)
        yield from (part[start : start + _BATCH] for start in range(0, len(part), _BATCH))


def _unreachable() -> str | None:
    """Why W&B's server cannot be used, or None: `wandb sync` would retry for minutes."""
    try:
        urllib.request.urlopen(_server(), timeout=_ANSWER_SECONDS).close()
    except urllib.error.HTTPError as error:
        return f"{_server()} answers {error.code}" if error.code >= 500 else None
    except OSError as error:
        return f"{_server()} does not answer ({one_line(error)})"
    return None


def _send(store: Store, names: list[str]) -> str:
    """Runs one `wandb sync` and marks in the store what it sent; returns the last line of its output."""
    with tempfile.TemporaryDirectory() as scratch:
        folders = {name: _local(store, name, Path(scratch) / name) for name in names}
        command = [sys.executable, "-m", "wandb", "sync", "-n", str(_PARALLEL)]
        seconds = _START_SECONDS + _RUN_SECONDS * len(names)
        last_line = _run(seconds, [*command, *map(str, folders.values())], scratch)
        for name, folder in folders.items():
            mark = stored_runs.mark_of(name)
            if not store.local and (folder / Path(mark).name).exists():
                store.write(mark, b"")
    return last_line


def _local(store: Store, name: str, scratch: Path) -> Path:
    """A run's folder on this machine: the store's own where the store is local, else a copy at `scratch`."""
    if store.local:
        return Path(store.path(f"{FOLDER}/{name}"))
    root = store.path(f"{FOLDER}/{name}")
    for info in store.filesystem.get_file_info(fs.FileSelector(root, recursive=True)):
        if info.type == fs.FileType.File:
            relative = info.path[len(root) + 1 :]
            (scratch / relative).parent.mkdir(parents=True, exist_ok=True)
            (scratch / relative).write_bytes(store.read(f"{FOLDER}/{name}/{relative}"))
    return scratch


def _run(seconds: float, command: list[str], folder: str) -> str:
    """Runs a command in `folder` and kills it, with its children, after `seconds`; returns the last line it printed."""
    process = subprocess.Popen(
        command,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return f"W&B took longer than {seconds:.0f} seconds"
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line).strip() for line in output.decode(errors="replace").splitlines()]
    return next((line for line in reversed(lines) if line), "wandb sync printed nothing")
