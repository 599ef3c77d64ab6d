"""What the routes need of a gateway.

The routes know no Ray: anything with these methods can serve, such as the fake bots of the tests.
"""

from collections.abc import AsyncIterator, Sequence
from typing import Annotated, Protocol

from fastapi import Depends, Request

from pipeline.core.signing import Keyring
from serve.engine.question import Part, Question
from serve.http.catalogue import Catalogue
from serve.http.public_facts import Order, Outcome, PublicBot


class Bots(Protocol):
    """The bots that a gateway serves."""

    def catalogue(self, order: Order = "name") -> Catalogue:
        """All bots in this order."""

    def about(self, name: str) -> PublicBot:
        """What `GET /bots/{bot}` shows of a served bot; wakes no replica."""

    def keyring(self, bot: str | None = None) -> Keyring:
        """The keys that sign a bot's answers; those of all fleets without a bot, or for one that is not served."""

    def old_link_key(self, bot: str) -> bytes | None:
        """The key of old links to this bot's answers, or None if there are none."""

    def search_engines(self) -> bool:
        """Whether search engines may list any of the bots."""

    async def picture(self, bot: str, handle: str) -> bytes | None:
        """The profile picture of one of the bot's people as PNG, or None."""

    async def held_out(self, bot: str) -> Sequence[str]:
        """Held-out tweets of the bot's people, to play with; none unless the fleet has a game."""

    async def begin_round(self, bot: str, real: int) -> str:
        """Opens a round of the game; `real` is the place of the real tweet. Returns the round's id."""

    async def end_round(self, bot: str, round_id: str, pick: int) -> Outcome | None:
        """Ends a round of the game; None if there is no such open round with this bot."""

    async def known(self, name: str) -> str:
        """The name of a served bot, in its own spelling. Raises ApiError 404."""

    async def metrics_text(self) -> str:
        """The metrics of all gateways in Prometheus' text format."""

    def answer(self, bot: str, question: Question) -> AsyncIterator[Part]:
        """The parts of a bot's answer. Raises ApiError; closing the iterator stops the generation."""


async def _served(request: Request) -> Bots:  # not async, FastAPI would call it in a thread for every request
    return request.app.state.bots


ServedBots = Annotated[Bots, Depends(_served)]  # as an argument of a route: the gateway's bots
