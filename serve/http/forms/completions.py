"""OpenAI's completions form: the request, and its reply, whole or as the chunks of a stream.

    form = Completion.model_validate({"model": "nasa", "prompt": "My dream is"})
    Reply(form, "a request id").whole([answer])                  # {"id", "choices": [{"text", …}], "usage", …}

Parameters that would have an effect that we do not have are refused by name.
"""

import itertools
import time
from collections.abc import Iterator, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from serve.engine.parameters import MAX_CHOICES, MAX_NEW_TOKENS, Parameters, printable
from serve.engine.question import Answer, Part, Piece
from serve.http.errors import explain
from serve.http.forms.text_generation import MAX_PROMPT_CHARS

# parameters that clients send but that have no effect here: only the values that ask for none are accepted
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "logit_bias": ({},),
    "suffix": ("",),
}


class StreamOptions(BaseModel):
    """`include_usage` asks for a last chunk with the number of tokens."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    include_usage: bool = False


class Completion(BaseModel):
    """The body of POST /v1/completions. top_k, min_tokens and repetition_penalty are ours (`extra_body`)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = Field(max_length=200)
    prompt: str | list[str]
    max_tokens: int | None = Field(None, ge=1, le=MAX_NEW_TOKENS)  # default: 160 tokens, prompt included
    min_tokens: int | None = Field(None, ge=0, le=MAX_NEW_TOKENS)
    temperature: float = Field(1.0, ge=0, le=100)  # 0: always the most likely token
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
    user: str = Field("", max_length=200)  # has no effect

    @model_validator(mode="before")
    @classmethod
    def _normalise(cls, value: Any) -> Any:
        """Removes nulls, which mean the default, and parameters that ask for no effect."""
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
        """The same parameters under the engine's names."""
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
    """The reply to one request: whole, or as the chunks of a stream.

    As with OpenAI, choices are numbered over all prompts: those of the second prompt follow those of the first.
    """

    def __init__(self, form: Completion, request_id: str):
        self.form = form
        self.frame = {
            "id": f"cmpl-{request_id}",
            "object": "text_completion",
            "created": int(time.time()),
            "model": form.model,
        }
        self._sent: dict[int, int] = {}  # characters of each choice that a stream has sent

    def whole(self, answers: list[Answer]) -> dict[str, Any]:
        """The reply without streaming, from the answers to all prompts in order."""
        choices: list[dict[str, Any]] = []
        for prompt, answer in zip(self.form.prompts, answers, strict=True):
            before = prompt if self.form.echo else ""
            for choice in answer["choices"]:
                text, reason = before + choice["text"], choice["finish_reason"]
                choices.append(self._choice(len(choices), text, reason, choice["pieces"], len(before)))
        return self.frame | {"choices": choices, "usage": usage(answers)}

    def chunks(self, number: int, pieces: list[Piece]) -> Iterator[dict[str, Any]]:
        """A chunk for each choice among the pieces that have arrived of the answer to prompt `number`."""
        for index, group in itertools.groupby(
            sorted(pieces, key=lambda piece: piece["index"]), lambda one: one["index"]
        ):
            members, choice = list(group), number * self.form.n + index
            before = self.form.prompts[number] if self.form.echo and choice not in self._sent else ""
            text = before + "".join(piece["text"] for piece in members)
            start = self._sent.get(choice, 0) + len(before)
            self._sent[choice] = self._sent.get(choice, 0) + len(text)
            yield self.frame | {"choices": [self._choice(choice, text, members[-1]["finish_reason"], members, start)]}

    def last(self, ends: list[Part]) -> dict[str, Any]:
        """The chunk with the usage, which ends a stream where it is asked for; `ends` are the answers' last parts."""
        return self.frame | {"choices": [], "usage": usage(ends)}

    def _choice(self, index: int, text: str, reason: str | None, pieces: list[Piece], start: int) -> dict[str, Any]:
        logprobs = None if self.form.logprobs is None else _logprobs(pieces, start)
        return {"index": index, "text": text, "finish_reason": reason, "logprobs": logprobs}


def usage(answers: Sequence[Answer | Part]) -> dict[str, int]:
    """The tokens that the model read and generated for these answers."""
    read = sum(answer["prompt_tokens"] for answer in answers)
    generated = sum(choice["tokens"] for answer in answers for choice in answer["choices"])
    return {"prompt_tokens": read, "completion_tokens": generated, "total_tokens": read + generated}


def _logprobs(pieces: list[Piece], start: int) -> dict[str, Any]:
    """OpenAI's four lists, of the pieces of a text that begin at character `start`."""
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
