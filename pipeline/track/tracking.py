"""The driver's side of W&B: hands published bots to an actor that writes their runs, and never waits for W&B.

    tracking = Tracking(job, bots)           # bots: all of the fleet's
    tracking.add([bot])                      # a published bot; returns at once
    tracking.finish(report["bots"])          # the fleet's own run; starts the sync

lineage.py defines the runs, stored_runs.py finds and writes the missing ones, offline.py writes W&B's file format, and
sync.py sends them. Nothing is logged while a bot trains: its runs are made from its published folder, in milliseconds,
so the next command can write those that are missing after a crash.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import ray

from pipeline.core.errors import one_line
from pipeline.core.ray_session import ensure
from pipeline.plan.bot import Bot
from pipeline.plan.job import Job
from pipeline.track import lineage
from pipeline.track.lineage import PublishedRow
from pipeline.track.stored_runs import StoredRuns, unsynced
from pipeline.track.sync import resolve_mode, start_sync

_FINISH_SECONDS = 60  # that `finish` waits for runs that are still being written


class Tracking:
    """Records a fleet's published bots in W&B. The actor that writes starts with the first bot."""

    def __init__(self, job: Job, bots: Sequence[Bot]):
        """`bots`: all bots of the fleet; `wandb.max_runs` of them get runs of their own."""
        self.fleet = job.fleet
        self.mode = resolve_mode(job.fleet.wandb.mode)
        self.stored = StoredRuns.of(job.fleet) if self.mode != "disabled" else None
        self.chosen = lineage.chosen((bot.name for bot in bots), job.fleet.wandb.max_runs)
        self.writer: Any = None  # the actor's handle

    def add(self, bots: Iterable[Bot]) -> None:
        """Has the runs of these published bots written where they are missing. Returns at once."""
        for bot in bots:
            if self.stored and bot.name in self.chosen and not self.stored.has(bot.name, bot.version or ""):
                self._writer().bot.remote(bot.name, bot.version)

    def finish(self, rows: Sequence[PublishedRow]) -> list[str]:
        """Writes the fleet's run from the report's rows and, in mode online, starts a process that syncs.

        Waits up to a minute for runs that are still being written, and never for the sync. Returns lines for the
        user: what could not be written, and where the sync's output is.
        """
        if self.stored is None:
            return []
        if not self.stored.has_fleet(rows):
            self._writer().fleet.remote(rows)
        lines = self._problems() if self.writer is not None else []
        if self.mode == "online" and unsynced(self.stored.store):
            lines.append(start_sync(self.fleet))
        return [f"W&B: {line}" for line in lines]

    def _writer(self) -> Any:
        if self.writer is None:
            ensure()
            self.writer = ray.remote(cast(Any, RunWriter)).options(num_cpus=0).remote(self.stored)
        return self.writer

    def _problems(self) -> list[str]:
        try:
            return ray.get(self.writer.finish.remote(), timeout=_FINISH_SECONDS)
        except Exception as error:
            return [f"some runs are not written yet; the next command writes them ({one_line(error)})"]


class RunWriter:
    """The actor that writes runs, at low priority. A run that cannot be written is only reported."""

    def __init__(self, stored: StoredRuns):
        os.nice(10)
        self.stored = stored
        self.problems: list[str] = []

    def bot(self, bot: str, version: str) -> None:
        """Writes the missing runs of a published bot."""
        with self._collecting_problems(bot):
            self.stored.write_bot(bot, version)

    def fleet(self, rows: Sequence[PublishedRow]) -> None:
        """Writes the fleet's run."""
        with self._collecting_problems("the fleet's run"):
            self.stored.write_fleet(rows)

    def finish(self) -> list[str]:
        """The problems of all earlier calls: an actor runs its calls in order."""
        return self.problems

    @contextmanager
    def _collecting_problems(self, of: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            self.problems.append(f"{of}: {one_line(error)}")
