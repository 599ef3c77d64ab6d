"""What OpenAI's two forms share: sampling parameters under OpenAI's names, and the token counts of a reply.

completions.py and chat.py build on it. A parameter that would change the answer but that we do
not support is refused, and the error names it.
"""

import re
from collections.abc import Sequence
from typing import Any, TypedDict

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, field_validator, model_validator

from serve.engine.parameters import MAX_CHOICES, MAX_NEW_TOKENS, MAX_STOPS, Parameters, checked_stops
from serve.engine.question import Answer, Part
from serve.http.forms.without_effect import without_effect


class Usage(TypedDict):
    """The token counts of a reply."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class StreamOptions(BaseModel):
    """`include_usage` asks for a last chunk with the number of tokens."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    include_usage: bool = False


class SamplingForm(BaseModel):
    """The parameters that completions and chat have in common.

    top_k, min_tokens and repetition_penalty are ours (`extra_body` in OpenAI's client). The names of the Hugging Face
    form are accepted too: its JavaScript client sends them to /v1/completions.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = Field("", max_length=2_000)  # a bot; without effect where the path names one
    max_tokens: int | None = Field(  # default: 160 tokens, prompt included
        None,
        ge=0,
        le=MAX_NEW_TOKENS,
        validation_alias=AliasChoices("max_tokens", "max_completion_tokens", "max_new_tokens"),
    )
    min_tokens: int | None = Field(
        None, ge=0, le=MAX_NEW_TOKENS, validation_alias=AliasChoices("min_tokens", "min_new_tokens")
    )
    temperature: float = Field(1.0, ge=0, le=100)  # 0: always the most likely token
    do_sample: bool = True  # false: always the most likely token
    top_p: float = Field(0.95, gt=0, le=1)
    top_k: int = Field(50, ge=0, le=2**31 - 1)  # 0: no limit
    repetition_penalty: float = Field(1.0, gt=0, le=10)
    n: int = Field(1, ge=1, le=MAX_CHOICES, validation_alias=AliasChoices("n", "num_return_sequences"))
    best_of: int | None = None
    seed: int | None = Field(None, ge=0, lt=2**63)
    stop: list[str] = Field([], max_length=MAX_STOPS, validation_alias=AliasChoices("stop", "stop_sequences"))
    stream: bool = False
    stream_options: StreamOptions = StreamOptions()
    details: bool = False  # has no effect: replies in these forms have no details

    @model_validator(mode="before")
    @classmethod
    def _remove_what_changes_nothing(cls, value: Any) -> Any:
        return without_effect(value)

    @field_validator("stop")
    @classmethod
    def _check_stops(cls, value: list[str]) -> list[str]:
        return checked_stops(value)

    @model_validator(mode="after")
    def _check_together(self) -> "SamplingForm":
        if self.max_tokens is not None and (self.min_tokens or 0) > self.max_tokens:
            raise ValueError(f"min_tokens {self.min_tokens} exceeds max_tokens {self.max_tokens}")
        if self.best_of not in (None, self.n):
            raise ValueError("best_of: only the value of n is supported")
        return self

    @property
    def parameters(self) -> Parameters:
        """The same parameters under the engine's names."""
        return Parameters(
            max_new_tokens=self.max_tokens or None,  # of 0 the question's `only_prompt` takes care
            min_new_tokens=self.min_tokens,
            temperature=self.temperature or 1.0,
            do_sample=self.do_sample and self.temperature > 0,
            top_p=self.top_p,
            top_k=self.top_k,
            repetition_penalty=self.repetition_penalty,
            num_return_sequences=self.n,
            seed=self.seed,
            stop=self.stop,
        )


def token_bytes(name: str) -> list[int]:
    """The bytes of a token by its name: a text, or `bytes:\\xf0\\x9f` for a part of a character."""
    if re.fullmatch(r"bytes:(\\x[0-9a-f]{2})+", name):
        return [int(byte, 16) for byte in name.split("\\x")[1:]]
    return list(name.encode())


def usage(answers: Sequence[Answer | Part]) -> Usage:
    """The tokens that the model read and generated for these answers."""
    read = sum(answer["prompt_tokens"] for answer in answers)
    generated = sum(choice["tokens"] for answer in answers for choice in answer["choices"])
    return {"prompt_tokens": read, "completion_tokens": generated, "total_tokens": read + generated}
