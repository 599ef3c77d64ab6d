"""What a long command shows: a live display on a terminal, plain lines elsewhere; always on stderr.

with Progress() as progress:
    progress.start("train", total=4, text="4 bots in 2 lanes")
    progress.advance("nasa: held-out loss 6.78 → 4.31")
"""

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars

_LINE_SECONDS = 5.0  # between plain lines that only say how far a step is


class Progress:
    def __init__(self, console: Console | None = None):
        self.console = console or Console(stderr=True, highlight=False)
        self.seconds: dict[str, float] = {}  # of each step
        self._live = self.console.is_terminal
        columns = TextColumn("{task.description:<10}"), BarColumn(24), MofNCompleteColumn(), TimeElapsedColumn()
        self._bars = Bars(*columns, TextColumn("{task.fields[note]}"), console=self.console)
        self._task: int | None = None
        self._step, self._total, self.done = "", 0, 0
        self._started = self._said = 0.0

    def __enter__(self) -> "Progress":
        if self._live:
            self._bars.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.end()
        self._bars.stop()

    def start(self, step: str, total: int, text: str = "") -> None:
        """Begins a step of `total` units; ends the one before."""
        self.end()
        self._step, self._total, self.done = step, total, 0
        self._started = self._said = time.monotonic()
        if self._live:
            self._task = self._bars.add_task(step, total=total or None, note=text)
        else:
            self.say(f"{step}: {text or total}")

    def advance(self, text: str = "", count: int = 1) -> None:
        """`count` units are done; `text` says which."""
        self.done += count
        if self._live and self._task is not None:
            self._bars.advance(self._task, count)  # type: ignore[arg-type]
        if text:
            self.say(f"{self._step} {self.done}/{self._total}: {text}")

    def note(self, text: str) -> None:
        """How far the step is, in passing."""
        if self._live and self._task is not None:
            self._bars.update(self._task, note=text)  # type: ignore[arg-type]
        elif time.monotonic() - self._said > _LINE_SECONDS:
            self.say(f"{self._step} {self.done}/{self._total}, {text}")

    def say(self, text: str) -> None:
        """A line that stays."""
        self._said = time.monotonic()
        self.console.print(text, markup=False, soft_wrap=True)

    def end(self) -> None:
        """Ends the step under way."""
        if self._step:
            elapsed = time.monotonic() - self._started
            self.seconds[self._step] = round(self.seconds.get(self._step, 0) + elapsed, 3)
            if self._live and self._task is not None:
                self._bars.update(self._task, completed=self.done, total=self.done or 1)  # type: ignore[arg-type]
        self._step = ""
