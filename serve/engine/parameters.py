"""Sampling parameters of a request, validated, with their limits and defaults.

Parameters(num_return_sequences=3, seed=7)
Parameters.model_validate({"n": 3, "top_k": None})        # as clients send them
"""

import secrets

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, field_validator, model_validator

MAX_NEW_TOKENS = 512
MAX_CHOICES = 16
MAX_STOPS = 8
MAX_STOP_CHARS = 64


class Parameters(BaseModel):
    """How to sample. The defaults are those of the original huggingtweets."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_new_tokens: int | None = Field(None, ge=1, le=MAX_NEW_TOKENS)  # default: 160 tokens, prompt included
    min_new_tokens: int | None = Field(None, ge=0, le=MAX_NEW_TOKENS)  # default: 10 tokens, prompt included
    temperature: float = Field(1.0, gt=0, le=100)
    top_p: float = Field(0.95, gt=0, le=1)
    top_k: int = Field(50, ge=0, le=2**31 - 1)  # 0: no limit
    repetition_penalty: float = Field(1.0, gt=0, le=10)
    num_return_sequences: int = Field(
        1, ge=1, le=MAX_CHOICES, validation_alias=AliasChoices("num_return_sequences", "n")
    )
    seed: int | None = Field(None, ge=0, lt=2**63)
    stop: list[str] = Field([], max_length=MAX_STOPS, validation_alias=AliasChoices("stop", "stop_sequences"))
    return_full_text: bool | None = None  # default: true without streaming, as in transformers
    do_sample: bool = True
    details: bool = False  # return tokens, seed and finish reason, as text-generation-inference does

    @field_validator("stop")
    @classmethod
    def _check_stops(cls, value: list[str]) -> list[str]:
        return checked_stops(value)

    @model_validator(mode="after")
    def _lengths(self) -> "Parameters":
        if self.max_new_tokens is not None and (self.min_new_tokens or 0) > self.max_new_tokens:
            raise ValueError(f"min_new_tokens {self.min_new_tokens} exceeds max_new_tokens {self.max_new_tokens}")
        return self

    def seeded(self) -> "Parameters":
        """The same with a seed, drawn at random if none is given, so that a retry generates the same text."""
        return self if self.seed is not None else self.model_copy(update={"seed": secrets.randbits(63)})


def checked_stops(stops: list[str]) -> list[str]:
    """The stop strings. Raises ValueError if one is empty, too long or not valid Unicode."""
    if any(not 1 <= len(stop) <= MAX_STOP_CHARS for stop in stops):
        raise ValueError(f"a stop string must have 1 to {MAX_STOP_CHARS} characters")
    return [printable(stop) for stop in stops]


def printable(text: str) -> str:
    """The text. Raises ValueError if it is not valid Unicode: JSON can contain half of a surrogate pair."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("not valid Unicode (a lone surrogate)") from None
    return text
