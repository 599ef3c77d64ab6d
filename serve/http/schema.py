"""Requests over HTTP, validated: sampling parameters, the Hugging Face text-generation form, the errors.

Every limit stands here, with its default; a request is held against them before any work is done.
"""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from serve.engine.parameters import Parameters, printable

MAX_BODY_BYTES = 64 * 1024
MAX_PROMPT_CHARS = 2_000
MAX_PAGE = 1_000  # bots in one page of GET /bots


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
