"""How busy each bot is, as a gateway sees it: ongoing requests now, and on average since the last report.

traffic = Traffic()
traffic.begin("nasa"); traffic.ongoing("nasa"); traffic.end("nasa"); traffic.report()      # {"nasa": 0.7}
"""

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass
class _Load:
    ongoing: int = 0
    since: float = 0.0  # when `ongoing` last changed
    seconds: float = 0.0  # of requests, since the last report


class Traffic:
    """Counts one gateway's requests by bot; `clock` gives seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self.clock = clock
        self._loads: dict[str, _Load] = {}
        self._reported = clock()

    def ongoing(self, bot: str) -> int:
        """The bot's requests that have begun and not ended."""
        load = self._loads.get(bot)
        return load.ongoing if load else 0

    def begin(self, bot: str) -> None:
        """A request for the bot begins."""
        self._change(bot, 1)

    def end(self, bot: str) -> None:
        """A request for the bot ends."""
        self._change(bot, -1)

    def _change(self, bot: str, by: int) -> None:
        now = self.clock()
        load = self._loads.setdefault(bot, _Load(since=now))
        load.seconds += load.ongoing * (now - load.since)
        load.ongoing, load.since = load.ongoing + by, now

    def report(self) -> dict[str, float]:
        """Each busy bot's mean number of ongoing requests since the last report."""
        now = self.clock()
        passed = max(now - self._reported, 1e-9)
        for bot in self._loads:
            self._change(bot, 0)
        busy = {bot: load.seconds / passed for bot, load in self._loads.items() if load.seconds}
        self._loads = {bot: _Load(load.ongoing, now) for bot, load in self._loads.items() if load.ongoing}
        self._reported = now
        return busy
