"""OpenAI's chat form: the request, and its reply, whole or as the chunks of a stream.

    form = Chat.model_validate({"model": "nasa", "messages": [{"role": "user", "content": "My dream is"}]})
    ChatReply(form, "nasa", "a request id", sign).whole(answer)  # {"choices": [{"message": {"content", …}}], …}

A bot continues text; it was never trained on conversations. So the last message of the user is the prompt, and system
messages and earlier turns are not read.
"""

import itertools
import operator
import time
from collections.abc import Iterator
from typing import ClassVar, Literal, NotRequired, TypedDict

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from serve.engine.parameters import printable
from serve.engine.question import Answer, Part, Piece
from serve.http.forms import Sign
from serve.http.forms.openai import SamplingForm, Usage, token_bytes, usage
from serve.http.forms.text_generation import MAX_PROMPT_CHARS

_ROLES = Literal["system", "developer", "user", "assistant", "tool", "function"]


class TextPart(BaseModel):
    """A part of a message's content; only text is supported."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    type: Literal["text"]
    text: str


class Message(BaseModel):
    """One turn of a conversation."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    role: _ROLES
    content: str | list[TextPart] | None = None

    @property
    def text(self) -> str:
        """The content as one text."""
        if isinstance(self.content, list):
            return "".join(part.text for part in self.content)
        return self.content or ""


class Chat(SamplingForm):
    """The body of POST /v1/chat/completions."""

    EXAMPLE: ClassVar[str] = '{"model": "nasa", "messages": [{"role": "user", "content": "My dream is"}]}'

    messages: list[Message] = Field(min_length=1)
    logprobs: bool = False
    top_logprobs: int | None = Field(None, ge=0, le=5)

    @field_validator("messages")
    @classmethod
    def _check_prompt(cls, value: list[Message]) -> list[Message]:
        if not any(message.role == "user" for message in value):
            raise ValueError("must have a message with the role user: the last one is the prompt")
        if len(printable(_prompt(value))) > MAX_PROMPT_CHARS:
            raise ValueError(f"the last message of the user must have at most {MAX_PROMPT_CHARS} characters")
        return value

    @model_validator(mode="after")
    def _check_lengths(self) -> "Chat":
        if self.max_tokens == 0:
            raise ValueError("max_tokens: must be at least 1")
        if self.top_logprobs is not None and not self.logprobs:
            raise ValueError("top_logprobs: needs logprobs: true")
        return self

    @property
    def prompt(self) -> str:
        """What the bot continues: the last message of the user."""
        return _prompt(self.messages)


class TokenLogprob(TypedDict):
    """A token with its log-probability."""

    token: str
    logprob: float
    bytes: list[int]


class ContentToken(TokenLogprob):
    """A token of the answer, with the likeliest ones at its place."""

    top_logprobs: list[TokenLogprob]


class Logprobs(TypedDict):
    """The log-probabilities of a choice, or of what a chunk adds to it."""

    content: list[ContentToken]


class Delta(TypedDict, total=False):
    """A message, or what a chunk adds to it."""

    role: str
    content: str
    refusal: None


class ChatChoice(TypedDict):
    """A choice of a whole reply (`message`) or of a chunk (`delta`); the last chunk of a choice has the signature."""

    index: int
    message: NotRequired[Delta]
    delta: NotRequired[Delta]
    logprobs: Logprobs | None
    finish_reason: str | None
    signature: NotRequired[str]


class _Frame(TypedDict):
    id: str
    created: int  # seconds since 1970
    model: str


class ChatCompletion(_Frame):
    """A whole reply, or a chunk of a stream, of which only the last one has the usage."""

    object: str
    choices: list[ChatChoice]
    usage: NotRequired[Usage]


class ChatReply:
    """The reply to one request: whole, or as the chunks of a stream."""

    def __init__(self, form: Chat, bot: str, request_id: str, sign: Sign):
        self.form, self.sign = form, sign
        self._texts = [""] * form.n  # what a stream has sent of each choice
        self._frame: _Frame = {"id": f"chatcmpl-{request_id}", "created": int(time.time()), "model": bot}

    def whole(self, answer: Answer) -> ChatCompletion:
        """The reply without streaming."""
        choices: list[ChatChoice] = [
            {
                "index": index,
                "message": {"role": "assistant", "content": choice["text"], "refusal": None},
                "logprobs": self._logprobs(choice["pieces"]),
                "finish_reason": choice["finish_reason"],
                "signature": self.sign(answer["version"], self.form.prompt, choice["text"]),
            }
            for index, choice in enumerate(answer["choices"])
        ]
        return {**self._frame, "object": "chat.completion", "choices": choices, "usage": usage([answer])}

    def first(self) -> Iterator[ChatCompletion]:
        """The chunks that begin a stream: the role of each choice."""
        for index in range(self.form.n):
            yield self._chunk(index, {"role": "assistant", "content": ""}, [], None)

    def chunks(self, part: Part) -> Iterator[ChatCompletion]:
        """A chunk for each choice among the pieces that have arrived, and one more, signed, where a choice ends."""
        by_choice = operator.itemgetter("index")
        for index, group in itertools.groupby(sorted(part.get("pieces", []), key=by_choice), by_choice):
            members = list(group)
            text = "".join(piece["text"] for piece in members)
            self._texts[index] += text
            yield self._chunk(index, {"content": text}, members, None)
            if members[-1]["finish_reason"]:
                chunk = self._chunk(index, {}, [], members[-1]["finish_reason"])
                chunk["choices"][0]["signature"] = self.sign(part["version"], self.form.prompt, self._texts[index])
                yield chunk

    def last(self, end: Part) -> ChatCompletion:
        """The chunk with the usage, which ends a stream where it is asked for; `end` is the answer's last part."""
        return {**self._frame, "object": "chat.completion.chunk", "choices": [], "usage": usage([end])}

    def _chunk(self, index: int, delta: Delta, pieces: list[Piece], reason: str | None) -> ChatCompletion:
        choice: ChatChoice = {
            "index": index,
            "delta": delta,
            "logprobs": self._logprobs(pieces),
            "finish_reason": reason,
        }
        return {**self._frame, "object": "chat.completion.chunk", "choices": [choice]}

    def _logprobs(self, pieces: list[Piece]) -> Logprobs | None:
        if not self.form.logprobs or not pieces:
            return None
        return {
            "content": [
                {
                    **_token(piece["name"], piece["logprob"]),
                    "top_logprobs": [_token(name, logprob) for name, logprob in piece["top"].items()],
                }
                for piece in pieces
            ]
        }


def _token(name: str, logprob: float) -> TokenLogprob:
    return {"token": name, "logprob": logprob, "bytes": token_bytes(name)}


def _prompt(messages: list[Message]) -> str:
    return next(message.text for message in reversed(messages) if message.role == "user")
