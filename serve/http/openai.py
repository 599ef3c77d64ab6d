"""OpenAI's completions form: the request, validated, and the replies made of what a bot said.

    Completion.model_validate({"model": "nasa", "prompt": "My dream is"})

Its parameters become ours; those that would have an effect we do not have are refused by name.
"""

import itertools
import time
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from serve.engine.parameters import MAX_CHOICES, MAX_NEW_TOKENS, Parameters, printable
from serve.http.schema import MAX_PROMPT_CHARS, explain

# what clients send along; without effect here, so only their neutral values are taken
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "logit_bias": ({},),
    "suffix": ("",),
}


class StreamOptions(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    include_usage: bool = False


class Completion(BaseModel):
    """The body of POST /v1/completions. top_k, min_tokens and repetition_penalty are ours (`extra_body`)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = Field(max_length=200)
    prompt: str | list[str]
    max_tokens: int | None = Field(None, ge=1, le=MAX_NEW_TOKENS)  # None: 160 tokens with the prompt
    min_tokens: int | None = Field(None, ge=0, le=MAX_NEW_TOKENS)
    temperature: float = Field(1.0, ge=0, le=100)  # 0: always the likeliest token
    top_p: float = Field(0.95, gt=0, le=1)
    top_k: int = Field(50, ge=0, le=2**31 - 1)
    repetition_penalty: float = Field(1.0, gt=0, le=10)
    n: int = Field(1, ge=1, le=MAX_CHOICES)
    best_of: int | None = None
    seed: int | None = Field(None, ge=0, lt=2**63)
    stop: str | list[str] = []
    logprobs: int | None = Field(None, ge=0, le=5)
    echo: bool = False
    stream: bool = False
    stream_options: StreamOptions = StreamOptions()
    user: str = Field("", max_length=200)  # without effect

    @model_validator(mode="before")
    @classmethod
    def _normalise(cls, value: Any) -> Any:
        """Nulls mean the default; neutral extras go."""
        if not isinstance(value, dict):
            return value
        return {
            key: item for key, item in value.items() if item is not None and not _one_of(item, _NEUTRAL.get(key, ()))
        }

    @field_validator("prompt")
    @classmethod
    def _prompts(cls, value: str | list[str]) -> str | list[str]:
        prompts = [value] if isinstance(value, str) else value
        if not 1 <= len(prompts) <= MAX_CHOICES:
            raise ValueError(f"1 to {MAX_CHOICES} prompts")
        for prompt in prompts:
            if len(printable(prompt)) > MAX_PROMPT_CHARS:
                raise ValueError(f"a prompt has at most {MAX_PROMPT_CHARS} characters")
        return value

    @model_validator(mode="after")
    def _sizes(self) -> "Completion":
        if len(self.prompts) * self.n > MAX_CHOICES:
            raise ValueError(f"n times the number of prompts is at most {MAX_CHOICES}")
        if self.best_of not in (None, self.n):
            raise ValueError("best_of: only the value of n is served")
        try:
            _ = self.parameters
        except ValidationError as error:
            raise ValueError(explain(error)) from None
        return self

    @property
    def prompts(self) -> list[str]:
        return [self.prompt] if isinstance(self.prompt, str) else self.prompt

    @property
    def parameters(self) -> Parameters:
        """The same wishes as the parameters of the other form."""
        return Parameters(
            max_new_tokens=self.max_tokens,
            min_new_tokens=self.min_tokens,
            temperature=self.temperature or 1.0,
            do_sample=self.temperature > 0,
            top_p=self.top_p,
            top_k=self.top_k,
            repetition_penalty=self.repetition_penalty,
            num_return_sequences=self.n,
            seed=self.seed,
            stop=[self.stop] if isinstance(self.stop, str) else self.stop,
        )


def _one_of(value: Any, neutral: tuple[Any, ...]) -> bool:
    return any(value == item and isinstance(value, bool) == isinstance(item, bool) for item in neutral)


class Reply:
    """The replies to one request: whole, or as the chunks of a stream.

    Choices are numbered over all prompts, as OpenAI does: those of the second prompt follow those of the first.
    """

    def __init__(self, asked: Completion, request_id: str):
        self.asked = asked
        self.frame = {
            "id": f"cmpl-{request_id}",
            "object": "text_completion",
            "created": int(time.time()),
            "model": asked.model,
        }
        self._offsets: dict[int, int] = {}  # of a stream's choices: characters sent so far

    def whole(self, answers: list[dict[str, Any]]) -> dict[str, Any]:
        """The reply from what the bot said to each prompt: {"choices", "prompt_tokens"} each."""
        choices: list[dict[str, Any]] = []
        for prompt, answer in zip(self.asked.prompts, answers, strict=True):
            before = prompt if self.asked.echo else ""
            for choice in answer["choices"]:
                logprobs = None
                if self.asked.logprobs is not None:
                    logprobs = _logprobs(choice["pieces"], len(before))
                choices.append(
                    {
                        "index": len(choices),
                        "text": before + choice["text"],
                        "finish_reason": choice["finish_reason"],
                        "logprobs": logprobs,
                    }
                )
        return self.frame | {"choices": choices, "usage": usage(answers)}

    def chunks(self, number: int, prompt: str, pieces: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """Chunks of a stream from pieces of the answer to prompt number `number`; one a choice."""
        for index, group in itertools.groupby(sorted(pieces, key=lambda one: one["index"]), lambda one: one["index"]):
            members, choice = list(group), number * self.asked.n + index
            before = prompt if self.asked.echo and choice not in self._offsets else ""
            text = before + "".join(piece["text"] for piece in members)
            start = self._offsets.get(choice, 0) + len(before)
            self._offsets[choice] = self._offsets.get(choice, 0) + len(text)
            logprobs = None
            if self.asked.logprobs is not None:
                logprobs = _logprobs(members, start)
            yield self.frame | {
                "choices": [
                    {
                        "index": choice,
                        "text": text,
                        "finish_reason": members[-1]["finish_reason"],
                        "logprobs": logprobs,
                    }
                ]
            }

    def last(self, answers: list[dict[str, Any]]) -> dict[str, Any]:
        """The chunk with the usage, which ends a stream where it is asked for."""
        return self.frame | {"choices": [], "usage": usage(answers)}


def usage(answers: list[dict[str, Any]]) -> dict[str, int]:
    read = sum(answer["prompt_tokens"] for answer in answers)
    said = sum(choice["tokens"] for answer in answers for choice in answer["choices"])
    return {"prompt_tokens": read, "completion_tokens": said, "total_tokens": read + said}


def _logprobs(pieces: list[dict[str, Any]], start: int) -> dict[str, Any]:
    """OpenAI's four lists, from the pieces of a text; text offsets count from `start`."""
    offsets, at = [], start
    for piece in pieces:
        offsets.append(at)
        at += len(piece["text"])
    return {
        "tokens": [piece["text"] for piece in pieces],
        "token_logprobs": [piece["logprob"] for piece in pieces],
        "top_logprobs": [piece["top"] or None for piece in pieces],
        "text_offset": offsets,
    }
