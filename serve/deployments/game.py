"""The game "Which one is real?": its open rounds, and how often each bot was taken for its person.

    game = Game({})
    round_id = game.begin("nasa", "0123456789ab", real=2)
    game.end("nasa", "0123456789ab", round_id, pick=1)
    # {"real": 2, "found": False, "fooled": {"rounds": 1, "fooled": 1}}

A round shows one tweet of the person and several texts of the bot; `real` and `pick` are places among them. Nothing is
kept about who played.
"""

import secrets
from collections.abc import Iterable
from typing import NamedTuple

from serve.deployments.saved_state import Tally
from serve.http.public_facts import Fooled, Outcome

_MAX_OPEN = 10_000  # rounds; more than that, and the oldest are over


class _Round(NamedTuple):
    bot: str
    version: str
    real: int


class Game:
    """All rounds with all bots. One process of a cluster has it, so that a round ends once."""

    def __init__(self, tallies: dict[str, Tally]):
        self.tallies = tallies  # by bot: those of the version that was played with last
        self._open: dict[str, _Round] = {}  # by id, the oldest first

    def fooled(self, bot: str, version: str) -> Fooled:
        """The tally of a bot in this version."""
        tally = self.tallies.get(bot)
        return tally["fooled"] if tally and tally["version"] == version else {"rounds": 0, "fooled": 0}

    def begin(self, bot: str, version: str, real: int) -> str:
        """Opens a round in which the real tweet is at the place `real`; returns the round's id."""
        while len(self._open) >= _MAX_OPEN:
            del self._open[next(iter(self._open))]
        round_id = secrets.token_urlsafe(12)
        self._open[round_id] = _Round(bot, version, real)
        return round_id

    def end(self, bot: str, version: str, round_id: str, pick: int) -> Outcome | None:
        """Ends a round with a visitor's pick; None if there is no such open round with this bot.

        It counts if it began with `version`, the one in use: the tally of a new version has no rounds of the last one.
        """
        if round_id not in self._open or self._open[round_id].bot != bot:
            return None
        _, begun, real = self._open.pop(round_id)
        fooled = self.fooled(bot, version)
        if begun == version:
            fooled = {"rounds": fooled["rounds"] + 1, "fooled": fooled["fooled"] + (pick != real)}
            self.tallies[bot] = {"version": version, "fooled": fooled}
        return {"real": real, "found": pick == real, "fooled": fooled}

    def drop(self, bots: Iterable[str]) -> list[str]:
        """Ends all rounds with these bots and drops their tallies; returns those of the bots that had one."""
        gone = set(bots)
        self._open = {round_id: one for round_id, one in self._open.items() if one.bot not in gone}
        return [bot for bot in gone if self.tallies.pop(bot, None)]
