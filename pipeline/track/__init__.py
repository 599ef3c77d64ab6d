"""W&B, never in the way: an actor of its own writes the runs of published bots, a process of its own syncs them.

    tracking = Tracking(job, bots)           # all of the fleet's
    tracking.add([bot])                      # published; returns at once
    tracking.finish(report["bots"])

lineage.py says what W&B is told, journal.py what is written, offline.py writes W&B's format, sync.py sends.
Nothing listens while a bot trains: the runs are made from the bot's published folder, offline, milliseconds
each, and what a crash left unwritten the next command writes.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import ray

from pipeline.core.errors import one_line
from pipeline.core.ray_session import ensure
from pipeline.plan.bots import Bot
from pipeline.plan.job import Job
from pipeline.track import lineage
from pipeline.track.journal import Journal, due
from pipeline.track.sync import resolve_mode, start_sync

_FINISH_SECONDS = 60  # to wait at the end for what is still being written


class Tracking:
    """The driver's side: hands bots to an actor that starts with the first of them, and goes on."""

    def __init__(self, job: Job, bots: list[Bot]):
        self.fleet = job.fleet
        self.mode = resolve_mode(job.fleet.wandb.mode)
        self.journal = Journal.of(job.fleet) if self.mode != "disabled" else None
        self.chosen = lineage.chosen((bot.name for bot in bots), job.fleet.wandb.max_runs)
        self.actor: Any = None

    def add(self, bots: Iterable[Bot]) -> None:
        """Published bots: their runs are written, unless they are there."""
        for bot in bots:
            if self.journal and bot.name in self.chosen and not self.journal.has(bot.name, bot.version or ""):
                self._writer().bot.remote(bot.name, bot.version)

    def _writer(self) -> Any:
        if self.actor is None:
            ensure()
            self.actor = ray.remote(cast(Any, Writer)).options(num_cpus=0).remote(self.journal)
        return self.actor

    def finish(self, rows: list[dict[str, Any]]) -> list[str]:
        """The fleet's own run, from the report's rows; waits a while for what is still being written.

        Then a process of its own syncs, where W&B is wanted online; this one does not wait for it. Returns what
        there is to say: what went wrong, and where the syncing goes on.
        """
        if self.journal is None:
            return []
        if not self.journal.has_fleet(rows):
            self._writer().fleet.remote(rows)
        said = self._written() if self.actor is not None else []
        if self.mode == "online" and due(self.journal.store):
            said.append(start_sync(self.fleet))
        return [f"W&B: {line}" for line in said]

    def _written(self) -> list[str]:
        try:
            return ray.get(self.actor.finish.remote(), timeout=_FINISH_SECONDS)
        except Exception as error:
            return [f"not all runs are written, the next command goes on ({one_line(error)})"]


class Writer:
    """The actor; it yields the processor to whoever trains. A failure costs a run, never a bot."""

    def __init__(self, journal: Journal):
        os.nice(10)
        self.journal = journal
        self.problems: list[str] = []

    def bot(self, bot: str, version: str) -> None:
        with self._noting(bot):
            self.journal.write_bot(bot, version)

    def fleet(self, rows: list[dict[str, Any]]) -> None:
        with self._noting("the fleet's run"):
            self.journal.write_fleet(rows)

    @contextmanager
    def _noting(self, what: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            self.problems.append(f"{what}: {one_line(error)}")

    def finish(self) -> list[str]:
        """What went wrong; calls come in order, so all earlier ones are done."""
        return self.problems


__all__ = ["Tracking", "lineage"]
