"""How far a command is, for others to see: as Ray metrics, and as a small record in the store.

    with shared(store, progress): ...                  # the command that works

`status --watch` (pipeline/operate/watch.py) reads the record. The store is what every kind of cluster has and both
sides reach: the record needs no port, and no Ray where it is read.
"""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from pipeline.core.errors import one_line
from pipeline.core.progress import BotState, Progress
from pipeline.core.ray_metrics import record
from pipeline.core.store import Store

FILE = "work/progress.json"
BEAT = 2.0  # seconds between records
_LAST = 10.0  # to wait for the last one, where the store is slow
_FAILURES = 50  # that a record names at most
_FIGURES = ("lanes", "queue_length", "tokens_left", "tokens_per_second")
_COUNTED = {"train": "bots_trained_total", "evaluate": "bots_evaluated_total", "publish": "bots_published_total"}


@contextmanager
def shared(store: Store, progress: Progress) -> Iterator[None]:
    """Tells others of `progress` as long as the block lasts; a store that cannot be written stops nobody."""
    teller, progress.fleet = _Teller(store, progress), store.fleet
    progress.listeners.append(teller.count)
    teller.start()
    try:
        yield
    except BaseException as error:
        teller.error = one_line(error)
        raise
    finally:
        progress.listeners.remove(teller.count)
        teller.ended.set()
        teller.join(_LAST)


class _Teller(threading.Thread):
    """Looks at how far a command is every other second."""

    def __init__(self, store: Store, progress: Progress):
        super().__init__(daemon=True, name="watch")
        self.store, self.fleet, self.progress = store, store.fleet, progress
        self.began, self.beats = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), 0
        self.ended, self.error = threading.Event(), ""

    def run(self) -> None:
        while not self.ended.wait(BEAT if self.beats else 0.0):
            self._tell(ended=False)
        self._tell(ended=True)

    def _tell(self, ended: bool) -> None:
        self.beats += 1
        self._measure(ended)
        with suppress(OSError):  # it is gone for a moment; whoever watches waits for the next record
            self.store.write(FILE, json.dumps(self._record(ended), ensure_ascii=False).encode())

    def _record(self, ended: bool) -> dict[str, Any]:
        progress = self.progress
        return {
            "fleet": self.fleet,
            "began": self.began,
            "beat": self.beats,
            "step": progress.step,
            "done": progress.done,
            "total": progress.total,
            "text": progress.text,
            **{name: progress.figures.get(name, 0) for name in _FIGURES},
            "failed": dict(list(progress.failed.items())[-_FAILURES:]),
            "failures": len(progress.failed),
            "seconds": progress.seconds | ({progress.step: round(progress.elapsed, 1)} if progress.step else {}),
            "ended": ended,
            "error": self.error,
        }

    def _measure(self, ended: bool) -> None:
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

    def count(self, step: str, bot: BotState) -> None:
        """A bot is through a step, or has failed in it."""
        if bot.status == "failed":
            record("bots_failed_total", 1, fleet=self.fleet, stage=step)
            return
        if step in _COUNTED:
            record(_COUNTED[step], 1, fleet=self.fleet)
        for part in {"train": ("train", "handover"), "evaluate": ("evaluate",)}.get(step, ()):
            record("bot_seconds", bot.seconds[part], fleet=self.fleet, part=part)
