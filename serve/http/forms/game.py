"""The forms of the game "Which one is real?", and which texts a round shows."""

import random
from collections.abc import Sequence
from typing import ClassVar, TypedDict

from pydantic import BaseModel, ConfigDict, Field

from serve.http.public_facts import without_lead_in

TEXTS = 4  # in a round: one tweet, and the bot's
_SHORTEST, _LONGEST = 20, 280  # characters


class Round(TypedDict):
    """The reply that opens a round."""

    round: str
    texts: list[str]


class Pick(BaseModel):
    """A visitor's pick: the place of a text, counted from 0."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    EXAMPLE: ClassVar[str] = '{"pick": 2}'

    pick: int = Field(ge=0, lt=TEXTS)


def playable(texts: Sequence[str]) -> list[str]:
    """Those of the texts that are neither very short nor very long, each once and as the page shows it."""
    shown = dict.fromkeys(without_lead_in(text).strip() for text in texts)
    return [text for text in shown if _SHORTEST <= len(text) <= _LONGEST]


def arranged(tweet: str, written: Sequence[str]) -> tuple[list[str], int] | None:
    """The texts of a round in random order, and the place of the tweet; None if the bot wrote too few others.

    Of what the bot wrote, the texts nearest to the tweet in length are taken: length alone would tell them apart.
    """
    others = sorted((text for text in written if text != tweet), key=lambda text: abs(len(text) - len(tweet)))
    if len(others) < TEXTS - 1:
        return None
    texts = others[: TEXTS - 1]
    real = random.randrange(TEXTS)
    return [*texts[:real], tweet, *texts[real:]], real
