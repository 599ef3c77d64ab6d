"""Requests over HTTP, validated: sampling parameters, the Hugging Face text-generation form, the errors.

Every limit stands here, with its default; a request is held against them before any work is done.
"""

import secrets
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

MAX_BODY_BYTES = 64 * 1024
MAX_PROMPT_CHARS = 2_000
MAX_NEW_TOKENS = 512
MAX_CHOICES = 16
MAX_STOPS = 8
MAX_STOP_CHARS = 64
MAX_PAGE = 1_000  # bots in one page of GET /bots

# what text-generation clients send along; without effect here, so only their neutral values are taken
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "decoder_input_details": (False,),
    "watermark": (False,),
    "best_of": (1,),
    "use_cache": (True, False),
    "wait_for_model": (True, False),
}


class Parameters(BaseModel):
    """How to sample; the defaults are the original huggingtweets'."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_new_tokens: int | None = Field(None, ge=1, le=MAX_NEW_TOKENS)  # None: 160 tokens with the prompt
    min_new_tokens: int | None = Field(None, ge=0, le=MAX_NEW_TOKENS)  # None: 10 tokens with the prompt
    temperature: float = Field(1.0, gt=0, le=100)
    top_p: float = Field(0.95, gt=0, le=1)
    top_k: int = Field(50, ge=0, le=2**31 - 1)  # 0: no limit
    repetition_penalty: float = Field(1.0, gt=0, le=10)
    num_return_sequences: int = Field(1, ge=1, le=MAX_CHOICES)
    seed: int | None = Field(None, ge=0, lt=2**63)
    stop: list[str] = Field([], max_length=MAX_STOPS)
    return_full_text: bool | None = None  # None: true without streaming, as in transformers
    do_sample: bool = True
    details: bool = False  # tell tokens, seed and why the text ended, as text-generation-inference does

    @model_validator(mode="before")
    @classmethod
    def _normalise(cls, value: Any) -> Any:
        """Nulls mean the default; `n` and `stop_sequences` are other names; neutral extras go."""
        if not isinstance(value, dict):
            return value
        given = {key: item for key, item in value.items() if item is not None}
        given = {key: item for key, item in given.items() if item not in _NEUTRAL.get(key, ())}
        for other, name in (("n", "num_return_sequences"), ("stop_sequences", "stop")):
            if other in given:
                given.setdefault(name, given.pop(other))
        if isinstance(given.get("stop"), str):
            given["stop"] = [given["stop"]]
        return given

    @field_validator("stop")
    @classmethod
    def _stops(cls, value: list[str]) -> list[str]:
        if any(not 1 <= len(stop) <= MAX_STOP_CHARS for stop in value):
            raise ValueError(f"a stop string has 1 to {MAX_STOP_CHARS} characters")
        return [printable(stop) for stop in value]

    @model_validator(mode="after")
    def _lengths(self) -> "Parameters":
        if self.max_new_tokens is not None and (self.min_new_tokens or 0) > self.max_new_tokens:
            raise ValueError(f"min_new_tokens {self.min_new_tokens} exceeds max_new_tokens {self.max_new_tokens}")
        return self

    def seeded(self) -> "Parameters":
        """The same with a seed: drawn here where none is given, so that a second try says the same."""
        return self if self.seed is not None else self.model_copy(update={"seed": secrets.randbits(63)})


class TextGeneration(BaseModel):
    """The body of POST /bots/{bot}."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    inputs: str = Field(max_length=MAX_PROMPT_CHARS)
    parameters: Parameters = Parameters()
    stream: bool = False
    options: dict[str, Any] = {}  # sent by older clients; without effect

    @field_validator("inputs")
    @classmethod
    def _printable(cls, value: str) -> str:
        return printable(value)

    @field_validator("parameters", mode="before")
    @classmethod
    def _parameters(cls, value: Any) -> Any:
        return {} if value is None else value

    @field_validator("stream", mode="before")
    @classmethod
    def _stream(cls, value: Any) -> Any:
        return False if value is None else value

    @model_validator(mode="after")
    def _one_stream(self) -> "TextGeneration":
        if self.stream and self.parameters.num_return_sequences > 1:
            raise ValueError("a stream in this form has one text; ask several times, or use /v1/completions")
        return self


def printable(text: str) -> str:
    """The text. Raises ValueError where it is not valid Unicode: JSON can spell half a character."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("not valid Unicode (a lone surrogate)") from None
    return text


class ApiError(Exception):
    """An error as the client sees it."""

    def __init__(self, code: int, type: str, message: str, retry_after: int | None = None):
        super().__init__(message)
        self.code, self.type, self.message, self.retry_after = code, type, message, retry_after

    def __reduce__(self) -> Any:  # it crosses process borders
        return ApiError, (self.code, self.type, self.message, self.retry_after)

    def body(self) -> dict[str, Any]:
        return {"error": {"message": self.message, "type": self.type, "code": self.code}}


def explain(error: ValidationError) -> str:
    """A validation error as one line: `parameters.top_p: Input should be …`; values are not repeated."""
    problems = []
    for item in error.errors(include_input=False, include_url=False):
        where = ".".join(_shown(part) for part in item["loc"]) or "body"
        reason = "unknown" if item["type"] == "extra_forbidden" else item["msg"].removeprefix("Value error, ")
        problems.append(f"{where}: {reason}")
    return "; ".join(problems)


def _shown(part: int | str) -> str:
    """A key as somebody spelled it, fit for a message: short, on one line, valid Unicode."""
    return " ".join(str(part)[:40].split()).encode("utf-8", "backslashreplace").decode()
