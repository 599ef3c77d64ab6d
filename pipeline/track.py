"""W&B, never in the way: an actor of its own writes one run per published bot, from what is in the store.

    with tracker(job) as tracking:
        tracking.add([bot])                  # returns at once

A bot's folder says all that its run needs (provenance.json, metrics.json): nothing listens while it trains,
and what a crash left unwritten the next command writes. Runs are written offline, milliseconds each, to
`{storage}/{fleet}/wandb/`, ready for `wandb sync`. With a key (WANDB_API_KEY or `wandb login`) the same
folders are synced by a process of its own, with a time limit.
"""

import contextlib
import logging
import netrc
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, cast

import ray

from pipeline import provenance
from pipeline.errors import one_line
from pipeline.plan import Bot, Job, read_json
from pipeline.session import ensure
from pipeline.store import Store

log = logging.getLogger("huggingtweets")
_PREFIX = len("offline-run-20260101_000000-")
_FINISH_SECONDS = 60  # to wait at the end for what is still being written
_SYNC_SECONDS = 120
_WRITE_SECONDS = 30  # for W&B to write one run's file


def resolve_mode(mode: str) -> str:
    """ "auto" is online with a key, offline without."""
    if mode != "auto":
        return mode
    return "online" if _has_key() else "offline"


def _has_key() -> bool:
    if os.environ.get("WANDB_API_KEY"):
        return True
    try:
        return netrc.netrc().authenticators("api.wandb.ai") is not None
    except (OSError, netrc.NetrcParseError):
        return False


@contextlib.contextmanager
def tracker(job: Job) -> Iterator["Tracking"]:
    """Takes published bots for the length of the block; at its end what was taken is written."""
    tracking = Tracking(job, resolve_mode(job.fleet.wandb.mode))
    try:
        yield tracking
    finally:
        for problem in tracking.finish():
            log.warning("W&B: %s", problem)


class Tracking:
    """The driver's side: hands bots to an actor that starts with the first of them, and never waits for it."""

    def __init__(self, job: Job, mode: str):
        self.job, self.mode = job, mode
        self.actor: Any = None
        known = job.store.list("wandb") if mode != "disabled" else []
        self.known = {name[_PREFIX:] for name in known}  # the runs' ids

    def add(self, bots: Iterable[Bot]) -> None:
        """Published bots: their runs are written, unless they are there."""
        for bot in bots:
            if self.mode != "disabled" and run_id(bot.name, bot.version or "") not in self.known:
                self._start().write.remote(bot.name, bot.version)

    def _start(self) -> Any:
        if self.actor is None:
            ensure()
            remote: Any = ray.remote(cast(Any, Tracker)).options(num_cpus=0)
            self.actor = remote.remote(self.job.store, self.job.fleet.fleet, self.job.fleet.wandb.model_dump())
        return self.actor

    def finish(self) -> list[str]:
        """Waits a while for what is still being written; returns what went wrong, if anything."""
        if self.actor is None:
            return []
        try:
            written, problems = ray.get(self.actor.finish.remote(), timeout=_FINISH_SECONDS)
            if self.mode == "online" and written:
                problems += _sync(self.job.store, written)
        except Exception as error:
            problems = [one_line(error)]
        return problems


def run_id(bot: str, version: str) -> str:
    return f"{bot}-{version}"


def _sync(store: Store, runs: list[str]) -> list[str]:
    """Sends runs to W&B from this process's machine, which has the key; returns what went wrong, if anything."""
    with tempfile.TemporaryDirectory() as scratch:
        folders = [str(store.fetch(name, Path(scratch) / name)) for name in runs]
        try:
            command = [sys.executable, "-m", "wandb", "sync", *folders]
            subprocess.run(command, check=True, capture_output=True, timeout=_SYNC_SECONDS)
            return []
        except (subprocess.SubprocessError, OSError) as error:
            return [f"not synced ({one_line(error)}); later: wandb sync {store.path('wandb')}/offline-run-*"]


class Tracker:
    """Writes runs into a scratch folder and moves each, whole, into the store."""

    def __init__(self, store: Store, fleet: str, settings: dict[str, Any]):
        self.store, self.fleet, self.settings = store, fleet, settings
        self.problems: list[str] = []
        self.written: list[str] = []

    def write(self, bot: str, version: str) -> None:
        """One bot's run: hyperparameters, loss curve, metrics. A failure costs the run, not the bot."""
        try:
            with tempfile.TemporaryDirectory() as scratch:
                made, metrics = (
                    read_json(self.store, f"bots/{bot}/{version}/{name}") for name in (provenance.FILE, "metrics.json")
                )
                _write_run(Path(scratch), self.settings, self.fleet, bot, version, made, metrics)
                for run in Path(scratch, "wandb").glob("offline-run-*"):
                    name = f"wandb/{run.name}"
                    files = {str(path.relative_to(run)): path.read_bytes() for path in run.rglob("*") if path.is_file()}
                    self.store.write_folder(name, files)
                    self.written.append(name)
        except Exception as error:
            self.problems.append(f"{bot}: {one_line(error)}")

    def finish(self) -> tuple[list[str], list[str]]:
        """What was written, and what went wrong; calls come in order, so all earlier ones are done."""
        return self.written, self.problems


def _write_run(
    folder: Path,
    settings: dict[str, Any],
    fleet: str,
    bot: str,
    version: str,
    made: dict[str, Any],
    metrics: dict[str, Any],
) -> None:
    """One offline W&B run below `folder`, under a name that says what it is about."""
    import wandb

    lean: dict[str, Any] = {"console": "off", "x_disable_stats": True, "x_disable_meta": True, "silent": True}
    lean["x_transaction_log_flush_interval"] = 0.05  # seconds
    lean |= {"disable_git": True, "disable_code": True, "x_save_requirements": False}
    run = wandb.init(
        project=settings["project"],
        entity=settings["entity"],
        group=fleet,
        job_type="train",
        name=bot,
        id=run_id(bot, version),
        dir=str(folder),
        mode="offline",
        reinit="create_new",
        config=made["settings"] | {"fleet": fleet, "bot": bot, "version": version, "handles": bot.split("-")},
        settings=wandb.Settings(**lean),
    )
    for step, (loss, rate) in enumerate(zip(made["losses"], made["learning_rates"], strict=True), start=1):
        run.log({"train/loss": loss, "train/learning_rate": rate}, step=step)
    summary = {f"held_out/{key}": value for key, value in metrics["held_out"].items()}
    summary |= {f"train/{key}": value for key, value in metrics["train"].items() if key != "loss"}
    run.summary.update(summary)
    run.finish()
    _wait_until_written(next(folder.glob("wandb/offline-run-*/*.wandb")))


def _wait_until_written(path: Path) -> None:
    """Until the run's file holds its end: W&B's own process writes it, and `finish` does not wait for that."""
    deadline = time.monotonic() + _WRITE_SECONDS
    while not any(record.HasField("exit") for record in records(path)):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{path.name} was not complete after {_WRITE_SECONDS} seconds")
        time.sleep(0.01)


def records(path: Path) -> Iterator[Any]:
    """The records of a .wandb file, as far as they are written (wandb_internal_pb2.Record).

    After 7 bytes of header come LevelDB-style chunks in blocks of 32 KiB: 4 bytes checksum, 2 bytes length, 1
    byte kind (1 whole, 2 first, 3 middle, 4 last part of a record).
    """
    from wandb.proto import wandb_internal_pb2

    new_record: Any = wandb_internal_pb2.Record  # type: ignore[attr-defined]
    data, block, at, record = path.read_bytes(), 32 * 1024, 7, b""
    while at + 7 <= len(data):
        if block - at % block < 7:  # a block's rest that holds no chunk's head
            at += block - at % block
            continue
        length, kind = int.from_bytes(data[at + 4 : at + 6], "little"), data[at + 6]
        if at + 7 + length > len(data):
            return
        record = (b"" if kind in (1, 2) else record) + data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):
            parsed = new_record()
            parsed.ParseFromString(record)
            yield parsed
