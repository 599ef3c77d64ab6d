"""Publishes how far a command is, as Ray metrics and as a small record in the store.

    with shared(store, progress): ...       # around the work of a command

`status --watch` (pipeline/operate/watch.py) reads the record. Every kind of cluster has a store that both sides can
reach, so watching needs no port, and no Ray.
"""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TypedDict

from pipeline.core import manifest
from pipeline.core.errors import one_line
from pipeline.core.progress import BotState, Progress
from pipeline.core.ray_metrics import record
from pipeline.core.store import Store

FILE = "work/progress.json"
BEAT = 2.0  # seconds between records
_LAST_SECONDS = 10.0  # to wait for the last record, where the store is slow
_FAILURES = 50  # the latest failures, that a record names
_FIGURES = ("lanes", "queue_length", "tokens_left", "tokens_per_second")
_COUNTERS = {"train": "bots_trained_total", "evaluate": "bots_evaluated_total", "publish": "bots_published_total"}
_PARTS = {"train": ("train", "handover"), "evaluate": ("evaluate",)}  # of a bot's seconds, by step


class ProgressRecord(TypedDict):
    """work/progress.json: how far a command is."""

    fleet: str
    manifest: int  # the form of the manifest of bots that the command keeps
    began: str  # UTC, ISO 8601
    beat: int  # the record's number, from 1
    step: str  # under way; "" between steps
    done: int
    total: int
    text: str  # how far the step is, in words
    lanes: float
    queue_length: float
    tokens_left: float
    tokens_per_second: float
    failed: dict[str, str]  # reasons by bot, the latest 50
    failures: int  # all of them
    seconds: dict[str, float]  # by step, the one under way included
    ended: bool
    error: str  # that ended the command, or ""


@contextmanager
def shared(store: Store, progress: Progress) -> Iterator[None]:
    """Publishes `progress` every other second while the block runs. A store that cannot be written stops nothing."""
    manifest.withdraw_if_outdated(store)
    publisher, progress.fleet = _Publisher(store, progress), store.fleet
    progress.listeners.append(publisher.count)
    publisher.start()
    try:
        yield
    except BaseException as error:
        publisher.error = one_line(error)
        raise
    finally:
        progress.listeners.remove(publisher.count)
        publisher.ended.set()
        publisher.join(_LAST_SECONDS)


class _Publisher(threading.Thread):
    """Writes records and metrics until `ended` is set, then the last ones."""

    def __init__(self, store: Store, progress: Progress):
        super().__init__(daemon=True, name="progress-record")
        self.store, self.fleet, self.progress = store, store.fleet, progress
        self.began, self.beats = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), 0
        self.ended, self.error = threading.Event(), ""

    def run(self) -> None:
        while not self.ended.wait(BEAT if self.beats else 0.0):
            self._publish(ended=False)
        self._publish(ended=True)

    def count(self, step: str, bot: BotState) -> None:
        """Counts a bot that finished a step, or failed in it."""
        if bot.status == "failed":
            record("bots_failed_total", 1, fleet=self.fleet, stage=step)
            return
        if step in _COUNTERS:
            record(_COUNTERS[step], 1, fleet=self.fleet)
        for part in _PARTS.get(step, ()):
            record("bot_seconds", bot.seconds[part], fleet=self.fleet, part=part)

    def _publish(self, ended: bool) -> None:
        self.beats += 1
        self._set_gauges(ended)
        with suppress(OSError):  # a store that is away for a moment: the next record reaches it
            self.store.write(FILE, json.dumps(self._record(ended), ensure_ascii=False).encode())

    def _record(self, ended: bool) -> ProgressRecord:
        progress = self.progress
        return {
            "fleet": self.fleet,
            "manifest": manifest.FORM,
            "began": self.began,
            "beat": self.beats,
            "step": progress.step,
            "done": progress.done,
            "total": progress.total,
            "text": progress.text,
            "lanes": progress.figures.get("lanes", 0),
            "queue_length": progress.figures.get("queue_length", 0),
            "tokens_left": progress.figures.get("tokens_left", 0),
            "tokens_per_second": progress.figures.get("tokens_per_second", 0),
            "failed": dict(list(progress.failed.items())[-_FAILURES:]),
            "failures": len(progress.failed),
            "seconds": progress.seconds | ({progress.step: round(progress.elapsed, 1)} if progress.step else {}),
            "ended": ended,
            "error": self.error,
        }

    def _set_gauges(self, ended: bool) -> None:
        progress, fleet = self.progress, self.fleet
        record("fleet_running", 0 if ended else 1, fleet=fleet)
        for name in _FIGURES:
            record(f"fleet_{name}", progress.figures.get(name, 0), fleet=fleet)
        stages = {stage: (seconds, 0, 0) for stage, seconds in list(progress.seconds.items())}
        if progress.step:
            stages[progress.step] = (progress.elapsed, progress.total, progress.done)
        for stage, (seconds, total, done) in stages.items():
            record("fleet_stage_seconds", seconds, fleet=fleet, stage=stage)
            record("fleet_stage_units", total, fleet=fleet, stage=stage)
            record("fleet_stage_done", done, fleet=fleet, stage=stage)
