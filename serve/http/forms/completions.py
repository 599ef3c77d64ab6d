"""OpenAI's completions form: the request, and its reply, whole or as the chunks of a stream.

form = Completion.model_validate({"model": "nasa", "prompt": "My dream is"})
Reply(form, "nasa", "a request id", sign).whole([answer])    # {"id", "choices": [{"text", …}], "usage", …}
"""

import itertools
import operator
import time
from collections import defaultdict
from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, NotRequired, TypedDict

from pydantic import AliasChoices, Field, field_validator, model_validator

from serve.engine.parameters import printable
from serve.engine.question import Answer, Part, Piece, Question
from serve.http.forms import Sign
from serve.http.forms.openai import SamplingForm, Usage, usage
from serve.http.forms.text_generation import MAX_PROMPT_CHARS

Token = Annotated[int, Field(strict=True, ge=0, lt=2**31)]
MAX_TEXTS = 128  # of a request: n times the number of its prompts


class Completion(SamplingForm):
    """The body of POST /v1/completions."""

    EXAMPLE: ClassVar[str] = '{"model": "nasa", "prompt": "My dream is"}'

    prompt: str | list[str] | list[Token] | list[list[Token]] = Field(validation_alias=AliasChoices("prompt", "inputs"))
    logprobs: int | None = Field(None, ge=0, le=5)
    echo: bool = Field(False, validation_alias=AliasChoices("echo", "return_full_text"))

    @field_validator("prompt")
    @classmethod
    def _check_prompts(cls, value: Any) -> Any:
        prompts = _prompts(value)
        if not 1 <= len(prompts) <= MAX_TEXTS:
            raise ValueError(f"must have 1 to {MAX_TEXTS} prompts")
        for prompt in prompts:
            size = len(printable(prompt)) if isinstance(prompt, str) else len(prompt)
            if size > MAX_PROMPT_CHARS:
                raise ValueError(f"a prompt must have at most {MAX_PROMPT_CHARS} characters or tokens")
        return value

    @field_validator("logprobs", mode="before")
    @classmethod
    def _no_logprobs(cls, value: Any) -> Any:
        return None if value is False else value

    @model_validator(mode="after")
    def _check_texts(self) -> "Completion":
        if len(self.prompts) * self.n > MAX_TEXTS:
            raise ValueError(f"n times the number of prompts must be at most {MAX_TEXTS}")
        if self.max_tokens == 0 and not self.echo:
            raise ValueError("max_tokens: 0 needs echo: true")
        return self

    @property
    def prompts(self) -> list[str | tuple[int, ...]]:
        """The prompts, as texts or as tokens."""
        return _prompts(self.prompt)

    def questions(self) -> list[Question]:
        """What to ask the bot for each prompt.

        The pieces of a prompt are needed for their log-probabilities, and for the text of a prompt of tokens.
        """
        pieces = self.stream or self.logprobs is not None
        return [
            Question(
                prompt,
                self.parameters,
                self.logprobs,
                pieces=pieces or self.max_tokens == 0 or self._echoes_pieces(prompt),
                prompt_pieces=self._echoes_pieces(prompt),
                only_prompt=self.max_tokens == 0,
            )
            for prompt in self.prompts
        ]

    def _echoes_pieces(self, prompt: str | tuple[int, ...]) -> bool:
        return self.echo and (self.logprobs is not None or not isinstance(prompt, str) or self.max_tokens == 0)


def _prompts(value: str | list[str] | list[int] | list[list[int]]) -> list[str | tuple[int, ...]]:
    if isinstance(value, str):
        return [value]
    if value and isinstance(value[0], int):
        return [tuple(value)]
    return [one if isinstance(one, str) else tuple(one) for one in value]  # type: ignore[arg-type]


class Logprobs(TypedDict):
    """OpenAI's four lists, with an entry for each token of a text."""

    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None]  # by token
    text_offset: list[int]  # where the token begins, in characters


class ReplyChoice(TypedDict):
    """One text, or what a chunk adds to it; a chunk has a signature if it is the last one of the text."""

    index: int
    text: str
    finish_reason: str | None
    logprobs: Logprobs | None
    signature: NotRequired[str]


class _Frame(TypedDict):
    id: str
    object: str
    created: int  # seconds since 1970
    model: str


class CompletionReply(_Frame):
    """A whole reply, or a chunk of a stream, of which only the last one has the usage."""

    choices: list[ReplyChoice]
    usage: NotRequired[Usage]


class Reply:
    """The reply to one request: whole, or as the chunks of a stream.

    As with OpenAI, choices are numbered over all prompts: those of the second prompt follow those of the first.
    """

    def __init__(self, form: Completion, bot: str, request_id: str, sign: Sign):
        self.form, self.sign = form, sign
        self.frame: _Frame = {
            "id": f"cmpl-{request_id}",
            "object": "text_completion",
            "created": int(time.time()),
            "model": bot,
        }
        self._sent: dict[int, int] = {}  # characters of each choice that a stream has sent
        self._written: defaultdict[int, str] = defaultdict(str)  # what of these the bot wrote

    def whole(self, answers: list[Answer]) -> CompletionReply:
        """The reply without streaming, from the answers to all prompts in order."""
        choices: list[ReplyChoice] = []
        for prompt, answer in zip(self.form.prompts, answers, strict=True):
            for choice in answer["choices"]:
                text = self._echoed(prompt, choice["pieces"]) + choice["text"]
                one = self._choice(len(choices), text, choice["finish_reason"], choice["pieces"], 0)
                one["signature"] = self._signature(answer["version"], prompt, choice["text"])
                choices.append(one)
        return {**self.frame, "choices": choices, "usage": usage(answers)}

    def chunks(self, number: int, part: Part) -> Iterator[CompletionReply]:
        """A chunk for each choice among the pieces that have arrived of the answer to prompt `number`.

        The last chunk of a choice has its signature.
        """
        by_choice = operator.itemgetter("index")
        for index, group in itertools.groupby(sorted(part.get("pieces", []), key=by_choice), by_choice):
            members, choice = list(group), number * self.form.n + index
            start = self._sent.get(choice, 0)
            begun = choice in self._sent or members[0]["from_prompt"]
            prompt = self.form.prompts[number]
            text = ("" if begun else self._echoed(prompt, [])) + "".join(piece["text"] for piece in members)
            self._sent[choice] = self._sent.get(choice, 0) + len(text)
            self._written[choice] += "".join(piece["text"] for piece in members if not piece["from_prompt"])
            reason = members[-1]["finish_reason"]
            one = self._choice(choice, text, reason, members, start)
            if reason:
                one["signature"] = self._signature(part["version"], prompt, self._written[choice])
            yield {**self.frame, "choices": [one]}

    def last(self, ends: list[Part]) -> CompletionReply:
        """The chunk with the usage, which ends a stream where it is asked for; `ends` are the answers' last parts."""
        return {**self.frame, "choices": [], "usage": usage(ends)}

    def _signature(self, version: str, prompt: str | tuple[int, ...], written: str) -> str:
        return self.sign(version, prompt if isinstance(prompt, str) else None, written)

    def _echoed(self, prompt: str | tuple[int, ...], pieces: list[Piece]) -> str:
        """What of the prompt stands before the answer."""
        if not self.form.echo:
            return ""
        return prompt if isinstance(prompt, str) else "".join(piece["text"] for piece in pieces if piece["from_prompt"])

    def _choice(self, index: int, text: str, reason: str | None, pieces: list[Piece], start: int) -> ReplyChoice:
        logprobs = None if self.form.logprobs is None else _logprobs(pieces, start)
        return {"index": index, "text": text, "finish_reason": reason, "logprobs": logprobs}


def _logprobs(pieces: list[Piece], start: int) -> Logprobs:
    """The lists of the pieces of a text that begin at character `start`.

    The first token of an echoed prompt has null, as there: nothing that the client knows of stands before it.
    """
    offsets, at = [], start
    for piece in pieces:
        offsets.append(at)
        at += len(piece["text"])
    unknown = bool(pieces) and pieces[0]["from_prompt"] and start == 0
    logprobs: list[float | None] = [piece["logprob"] for piece in pieces]
    top: list[dict[str, float] | None] = [piece["top"] or None for piece in pieces]
    if unknown:
        logprobs[0] = top[0] = None
    names = [piece["name"] for piece in pieces]
    return {"tokens": names, "token_logprobs": logprobs, "top_logprobs": top, "text_offset": offsets}
