"""Where a bot of an `auto` fleet is answered from: the pool, until it is busy for a while; then its own replicas.

    mover = Mover(); mover.report("gateway 1", {"nasa": 3.2}); mover.moves({"nasa": Serve()}, dedicated={"gov"})

It only decides; registry.py makes the moves. Tests can therefore pass in a clock of their own.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from pipeline.core.settings import Serve

_FORGET_SECONDS = 10.0  # without a report, until a gateway counts as gone


@dataclass
class Moves:
    """The names of bots that move."""

    out: list[str] = field(default_factory=list)  # from the pool to replicas of their own
    back: list[str] = field(default_factory=list)


class Mover:
    """Decides by the gateways' reports; `clock` gives seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self.clock = clock
        self._reports: dict[str, tuple[float, dict[str, float]]] = {}  # by gateway: the time, ongoing requests by bot
        self._busy_since: dict[str, float] = {}
        self._quiet_since: dict[str, float] = {}

    def report(self, gateway: str, busy: dict[str, float]) -> None:
        """Takes a gateway's report: each bot's mean number of ongoing requests."""
        self._reports[gateway] = (self.clock(), busy)

    def load(self, bot: str) -> float:
        """The bot's ongoing requests, over all gateways."""
        now = self.clock()
        return sum(busy.get(bot, 0.0) for at, busy in self._reports.values() if now - at < _FORGET_SECONDS)

    def reported(self) -> set[str]:
        """The bots that may have to move: busy now or a moment ago."""
        return {bot for _, busy in self._reports.values() for bot in busy} | set(self._busy_since)

    def moves(self, bots: dict[str, Serve], dedicated: set[str]) -> Moves:
        """Which of these bots move now, by their settings; those of `dedicated` have replicas of their own."""
        now, moves = self.clock(), Moves()
        for bot in bots:
            settings, load = bots[bot], self.load(bot)
            busy = load >= settings.busy_requests
            quiet = load < settings.busy_requests / 2  # well below, so that a bot does not go to and fro
            self._mark(self._busy_since, bot, busy, now)
            self._mark(self._quiet_since, bot, quiet, now)
            if bot in dedicated:
                if quiet and now - self._quiet_since[bot] >= settings.idle_seconds:
                    moves.back.append(bot)
            elif busy and now - self._busy_since[bot] >= settings.busy_seconds:
                moves.out.append(bot)
        return moves

    @staticmethod
    def _mark(since: dict[str, float], bot: str, holds: bool, now: float) -> None:
        if holds:
            since.setdefault(bot, now)
        else:
            since.pop(bot, None)
