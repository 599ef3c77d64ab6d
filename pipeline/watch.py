"""How far a fleet is, told to others while a command works on it: as Ray metrics, and as a small record in the store.

    with shared(store, progress): …                    # the command that works
    follow(store, progress)                            # another terminal: shows the same, until that command ends

The store is what every kind of cluster has and both sides reach: the record needs no port, and no Ray where it is
read.
"""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from pipeline.errors import UserError, one_line
from pipeline.metrics import record
from pipeline.plan import Bot, read_json
from pipeline.progress import Progress
from pipeline.store import Store

FILE = "work/progress.json"
_BEAT = 2.0  # seconds between records
_LAST = 10.0  # to wait for the last one, where the store is slow
_PATIENCE = 60.0  # without news, until the command that worked counts as lost
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
        while not self.ended.wait(_BEAT if self.beats else 0.0):
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

    def count(self, step: str, bot: Bot) -> None:
        """A bot is through a step, or has failed in it."""
        if bot.status == "failed":
            record("bots_failed_total", 1, fleet=self.fleet, stage=step)
            return
        if step in _COUNTED:
            record(_COUNTED[step], 1, fleet=self.fleet)
        for part in {"train": ("train", "handover"), "evaluate": ("evaluate",)}.get(step, ()):
            record("bot_seconds", bot.seconds[part], fleet=self.fleet, part=part)


def follow(store: Store, progress: Progress, told: Callable[[dict[str, Any]], None] = lambda record: None) -> None:
    """Shows a command that works on the fleet, until it ends; returns at once where none does.

    `told` gets each new record. Raises UserError where the command failed, or is heard of no more.
    """
    known = read_json(store, FILE)
    if not known or known["ended"]:
        progress.say("no command works on this fleet now")
        return
    seen, heard = known, time.monotonic()
    progress.say(f"fleet {known['fleet']}, since {known['began']}")
    _show(progress, known, told)
    while not seen["ended"]:
        time.sleep(_BEAT / 2)
        news = read_json(store, FILE) or seen
        silent = time.monotonic() - heard
        if news != seen:
            _show(progress, news, told)
            seen, heard = news, time.monotonic()
        elif silent > _PATIENCE:
            raise UserError(
                f"nothing was heard for {_PATIENCE:.0f} seconds of the command that began {seen['began']}: it was "
                "killed, or does not reach the store; `huggingtweets run` takes up what is left"
            )
        elif silent > 4 * _BEAT:
            progress.note(f"no news for {silent:.0f} s")
    progress.end()
    if seen["error"]:
        raise UserError(f"the command ended: {seen['error']}")


def _show(progress: Progress, news: dict[str, Any], told: Callable[[dict[str, Any]], None]) -> None:
    """Brings this terminal's display to where the other one is."""
    told(news)
    if news["step"] != progress.step and news["step"]:
        progress.start(news["step"], news["total"], news["text"])
    if news["step"]:
        progress.advance(count=news["done"] - progress.done)
        progress.note(news["text"])
    for bot, reason in news["failed"].items():
        if bot not in progress.failed:
            progress.failed[bot] = reason
            progress.say(f"{bot} failed: {reason}")
