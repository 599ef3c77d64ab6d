"""The Hugging Face text-generation form, as text-generation-inference (TGI) has it: request, reply, stream.

form = TextGeneration.model_validate({"inputs": "My dream is", "parameters": {"n": 2}})
whole(form, None, answer)                                    # [{"generated_text": "My dream is …"}, …]
"""

from collections.abc import Iterator
from typing import Any, ClassVar, NotRequired, TypedDict

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from serve.engine.parameters import Parameters, printable
from serve.engine.question import Answer, Part, Piece
from serve.http.forms import Sign
from serve.http.forms.without_effect import without_effect

MAX_PROMPT_CHARS = 2_000


class TextGeneration(BaseModel):
    """The body of POST /bots/{bot}."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    EXAMPLE: ClassVar[str] = '{"inputs": "My dream is"}'

    inputs: str = Field(max_length=MAX_PROMPT_CHARS)
    parameters: Parameters = Parameters()
    stream: bool = False
    options: dict[str, Any] = {}  # sent by older clients; has no effect

    @field_validator("inputs")
    @classmethod
    def _printable(cls, value: str) -> str:
        return printable(value)

    @model_validator(mode="before")
    @classmethod
    def _remove_what_changes_nothing(cls, value: Any) -> Any:
        fields = without_effect(value)
        if not isinstance(fields, dict):
            return fields
        parameters = without_effect(fields.get("parameters", {}))
        if isinstance(parameters, dict) and _keeps_all(parameters.get("truncate"), fields.get("inputs")):
            del parameters["truncate"]
        return fields | {"parameters": parameters}

    @model_validator(mode="after")
    def _one_text_per_stream(self) -> "TextGeneration":
        if self.stream and self.parameters.num_return_sequences > 1:
            raise ValueError("a stream in this form has one text; send several requests, or use /v1/completions")
        return self


class Token(TypedDict):
    """A token of an answer."""

    id: int
    text: str
    logprob: float
    special: bool


class Details(TypedDict):
    """How an answer ended: `prefill` and `tokens` are in whole replies, `input_length` and `signature` in streams."""

    finish_reason: str | None
    generated_tokens: int
    seed: int | None
    prefill: NotRequired[list[Token]]  # always empty: the prompt's tokens are not sent
    tokens: NotRequired[list[Token]]
    input_length: NotRequired[int]
    signature: NotRequired[str]


class GeneratedText(TypedDict):
    """One text of a whole reply."""

    generated_text: str
    details: NotRequired[Details]


class StreamEvent(TypedDict):
    """A token of a stream; with the last one the whole text and its details."""

    index: int  # from 1
    token: Token
    generated_text: str | None
    details: Details | None


def whole(form: TextGeneration, seed: int | None, answer: Answer) -> list[GeneratedText]:
    """The reply to a request without streaming: a text for each choice, with details where they are asked for."""
    before = form.inputs if form.parameters.return_full_text in (None, True) else ""
    replies: list[GeneratedText] = []
    for choice in answer["choices"]:
        reply: GeneratedText = {"generated_text": before + choice["text"]}
        if form.parameters.details:
            details = _details(choice["pieces"][-1], choice["tokens"], seed)
            reply["details"] = {**details, "prefill": [], "tokens": [_token(piece) for piece in choice["pieces"]]}
        replies.append(reply)
    return replies


class Stream:
    """The events of a streamed answer: one for each token, the last with the whole text, details and signature."""

    def __init__(self, form: TextGeneration, seed: int | None, sign: Sign):
        self.form, self.seed, self.sign = form, seed, sign
        self.tokens, self.text = 0, ""

    def events(self, part: Part) -> Iterator[StreamEvent]:
        """The events of the pieces that have arrived."""
        for piece in part.get("pieces", []):
            self.tokens += 1
            self.text += piece["text"]
            event: StreamEvent = {
                "index": self.tokens,
                "token": _token(piece),
                "generated_text": None,
                "details": None,
            }
            if piece["finish_reason"]:
                before = self.form.inputs if self.form.parameters.return_full_text else ""
                event["generated_text"] = before + self.text
                event["details"] = {
                    **_details(piece, self.tokens, self.seed),
                    "input_length": part["prompt_tokens"],
                    "signature": self.sign(part["version"], self.form.inputs, self.text),
                }
            yield event


def _keeps_all(truncate: Any, inputs: Any) -> bool:
    """Whether truncating the prompt to this many tokens leaves it as it is: a token has at least a byte."""
    if not isinstance(truncate, int) or not isinstance(inputs, str):
        return False
    return truncate >= len(inputs.encode(errors="replace"))


def _token(piece: Piece) -> Token:
    return {"id": piece["token"], "text": piece["text"], "logprob": piece["logprob"], "special": piece["special"]}


def _details(last: Piece, tokens: int, seed: int | None) -> Details:
    """TGI has separate names for the model's own end and for a stop string; a line break is a stop string here."""
    stop = "eos_token" if last["special"] else "stop_sequence"
    reason = stop if last["finish_reason"] == "stop" else last["finish_reason"]
    return {"finish_reason": reason, "generated_tokens": tokens, "seed": seed}
