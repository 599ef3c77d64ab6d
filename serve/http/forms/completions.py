"""OpenAI's completions form: the request, and its reply, whole or as the chunks of a stream.

form = Completion.model_validate({"model": "nasa", "prompt": "My dream is"})
Reply(form, "nasa", "a request id").whole([answer])          # {"id", "choices": [{"text", …}], "usage", …}
"""

import itertools
import time
from collections.abc import Iterator
from typing import Any, ClassVar

from pydantic import AliasChoices, Field, field_validator, model_validator

from serve.engine.parameters import printable
from serve.engine.question import Answer, Part, Piece
from serve.http.forms.openai import SamplingForm, usage
from serve.http.forms.text_generation import MAX_PROMPT_CHARS

MAX_TEXTS = 128  # of a request: n times the number of its prompts


class Completion(SamplingForm):
    """The body of POST /v1/completions."""

    EXAMPLE: ClassVar[str] = '{"model": "nasa", "prompt": "My dream is"}'

    prompt: str | list[str] = Field(validation_alias=AliasChoices("prompt", "inputs"))
    logprobs: int | None = Field(None, ge=0, le=5)
    echo: bool = Field(False, validation_alias=AliasChoices("echo", "return_full_text"))

    @field_validator("prompt")
    @classmethod
    def _check_prompts(cls, value: str | list[str]) -> str | list[str]:
        prompts = [value] if isinstance(value, str) else value
        if not 1 <= len(prompts) <= MAX_TEXTS:
            raise ValueError(f"must have 1 to {MAX_TEXTS} prompts")
        for prompt in prompts:
            if len(printable(prompt)) > MAX_PROMPT_CHARS:
                raise ValueError(f"a prompt must have at most {MAX_PROMPT_CHARS} characters")
        return value

    @field_validator("logprobs", mode="before")
    @classmethod
    def _no_logprobs(cls, value: Any) -> Any:
        return None if value is False else value

    @model_validator(mode="after")
    def _check_texts(self) -> "Completion":
        if len(self.prompts) * self.n > MAX_TEXTS:
            raise ValueError(f"n times the number of prompts must be at most {MAX_TEXTS}")
        return self

    @property
    def prompts(self) -> list[str]:
        """The prompts, also if there is one."""
        return [self.prompt] if isinstance(self.prompt, str) else self.prompt


class Reply:
    """The reply to one request: whole, or as the chunks of a stream.

    As with OpenAI, choices are numbered over all prompts: those of the second prompt follow those of the first.
    """

    def __init__(self, form: Completion, bot: str, request_id: str):
        self.form = form
        self.frame = {
            "id": f"cmpl-{request_id}",
            "object": "text_completion",
            "created": int(time.time()),
            "model": bot,
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
