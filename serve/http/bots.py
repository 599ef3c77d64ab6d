"""What the routes need of a gateway, and the parts in which a bot's answer arrives.

The routes know no Ray: anything with these methods can serve, such as the fake bots of the tests.
"""

from collections.abc import AsyncIterator
from typing import Annotated, Any, NotRequired, Protocol, TypedDict

from fastapi import Depends, Request

from serve.engine.parameters import Parameters


class Piece(TypedDict):
    """One generated token. The texts of a choice's pieces, joined, are the choice's text."""

    index: int  # of the choice
    token: int
    text: str  # empty while a character or a possible stop string is incomplete
    logprob: float
    top: dict[str, float]  # the likeliest tokens and their log-probabilities, as many as were asked for
    special: bool  # it is the token that separates tweets
    finish_reason: str | None  # of the choice, with its last piece


class Choice(TypedDict):
    """One finished text, without the prompt."""

    text: str
    tokens: int
    finish_reason: str  # stop or length
    pieces: NotRequired[list[Piece]]


class Part(TypedDict):
    """A part of an answer: `pieces` as they are generated, where they are asked for, then `choices`, once."""

    prompt_tokens: int  # that the model read, the separator included
    pieces: NotRequired[list[Piece]]
    choices: NotRequired[list[Choice]]


class Answer(TypedDict):
    """A whole answer: what is left when all parts have arrived."""

    prompt_tokens: int
    choices: list[Choice]


class Bots(Protocol):
    """The bots that a gateway serves."""

    def names(self) -> list[str]:
        """The names of all bots, sorted."""

    def about(self, name: str) -> dict[str, Any]:
        """What `GET /bots/{bot}` shows of a served bot; wakes no replica."""

    def signing_key(self, bot: str) -> bytes:
        """The key of the signatures under this bot's answers."""

    async def picture(self, bot: str, handle: str) -> bytes | None:
        """The profile picture of one of the bot's people as PNG, or None."""

    async def known(self, name: str) -> str:
        """The name of a served bot, in its own spelling. Raises ApiError 404."""

    async def metrics_text(self) -> str:
        """The metrics of all gateways in Prometheus' text format."""

    def say(
        self, bot: str, prompt: str, parameters: Parameters, logprobs: int | None = None, pieces: bool = False
    ) -> AsyncIterator[Part]:
        """The parts of a bot's answer. Raises ApiError; closing the iterator stops the generation."""


def _served(request: Request) -> Bots:
    return request.app.state.bots


ServedBots = Annotated[Bots, Depends(_served)]  # as an argument of a route: the gateway's bots
