"""The progress of a long command: a live display on a terminal, plain lines elsewhere; always on stderr.

with Progress() as progress:
    progress.start("train", total=4, text="4 bots in 2 lanes")
    progress.advance("nasa: held-out loss 6.78 → 4.31", bot=nasa)

`listeners` are called for each bot that finishes a step. With JSON logs (logs.py) plain lines are JSON too.
"""

import time
from collections.abc import Callable
from types import TracebackType
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars

from pipeline.core import logs

_LINE_SECONDS = 5.0  # at least between two plain lines of `note`


class BotState(Protocol):
    """What is shown of a bot; `pipeline.plan.bot.Bot` has it."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def version(self) -> str | None:
        """The version wanted of it, if it can be trained."""

    @property
    def status(self) -> str:
        """How far it is; "failed" is shown as a failure."""

    @property
    def reason(self) -> str | None:
        """Why it failed or was skipped."""

    @property
    def seconds(self) -> dict[str, float]:
        """The seconds that it took, by stage."""


class Progress:
    """The step of a command that is under way: its units done, and what is shown of it."""

    def __init__(self, console: Console | None = None):
        self.console = console or Console(stderr=True, highlight=False)
        self.fleet = ""
        self.step, self.total, self.done = "", 0, 0
        self.text = ""  # the latest note on the step
        self.figures: dict[str, float] = {}  # the figures in that note
        self.failed: dict[str, str] = {}  # the reason, by bot
        self.seconds: dict[str, float] = {}  # by step, of those that have ended
        self.listeners: list[
            Callable[[str, BotState], None]
        ] = []  # called with the step and a bot that finished it or failed in it
        self.checks: list[Callable[[], None]] = []  # called at each report; what they raise ends the command
        self._live = self.console.is_terminal
        columns = TextColumn("{task.description:<10}"), BarColumn(24), MofNCompleteColumn(), TimeElapsedColumn()
        self._bars = Bars(*columns, TextColumn("{task.fields[note]}"), console=self.console)
        self._task: int | None = None
        self._started = self._printed = 0.0

    def __enter__(self) -> "Progress":
        if self._live:
            self._bars.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.end()
        self._bars.stop()

    def start(self, step: str, total: int, text: str = "") -> None:
        """Starts a step of `total` units, and ends the one before."""
        self._check()
        self.end()
        self.step, self.total, self.done = step, total, 0
        self.text, self.figures = text, {}
        self._started = self._printed = time.monotonic()
        if self._live:
            self._task = self._bars.add_task(step, total=total or None, note=text)
        else:
            self.say(f"{step}: {text or total}")

    def advance(self, text: str = "", count: int = 1, bot: BotState | None = None) -> None:
        """Counts `count` units as done and shows `text`. `bot` is the one that finished the step, or failed in it."""
        self._check()
        self.done += count
        if self._live and self._task is not None:
            self._bars.advance(self._task, count)  # type: ignore[arg-type]
        if bot is not None:
            if bot.status == "failed":
                self.failed[bot.name] = bot.reason or ""
            for listener in self.listeners:
                listener(self.step, bot)
        if text:
            self.say(f"{self.step} {self.done}/{self.total}: {text}", bot)

    def note(self, text: str, **figures: float) -> None:
        """Shows a note on the step until the next one; off a terminal, one every few seconds."""
        self._check()
        self.text, self.figures = text, figures
        if self._live and self._task is not None:
            self._bars.update(self._task, note=text)  # type: ignore[arg-type]
        elif time.monotonic() - self._printed > _LINE_SECONDS:
            self.say(f"{self.step} {self.done}/{self.total}, {text}")

    def say(self, text: str, bot: BotState | None = None) -> None:
        """Prints a line."""
        self._printed = time.monotonic()
        if self._live or not logs.as_json():
            self.console.print(text, markup=False, soft_wrap=True)
            return
        about = {"fleet": self.fleet, "step": self.step} | ({"bot": bot.name, "version": bot.version} if bot else {})
        logs.log(**about).info(text)

    def _check(self) -> None:
        for check in self.checks:
            check()

    @property
    def elapsed(self) -> float:
        """Seconds since the step started."""
        return time.monotonic() - self._started if self.step else 0.0

    def end(self) -> None:
        """Ends the step."""
        if self.step:
            self.seconds[self.step] = round(self.seconds.get(self.step, 0) + self.elapsed, 3)
            if self._live and self._task is not None:
                total = self.total or self.done or 1  # an interrupted step stays at 3/10, where it was
                self._bars.update(self._task, completed=self.done, total=total)  # type: ignore[arg-type]
                self._bars.stop_task(self._task)  # type: ignore[arg-type]
        self.step, self.text, self.figures = "", "", {}
