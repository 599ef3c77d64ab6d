"""A question to a bot and the parts of its answer, as they travel from the HTTP routes to a replica and back.

    question = Question("My dream is", Parameters(num_return_sequences=3), pieces=True)

They cross process borders by pickle. A gateway and its replicas run the same code: a deployment's version contains
a hash of it.
"""

from dataclasses import dataclass, field
from typing import NotRequired, TypedDict

from serve.engine.parameters import Parameters

Settings = dict[str, str]  # environment variables of OpenTelemetry


@dataclass(frozen=True)
class Trace:
    """What a replica needs to add its spans to a request's trace (serve/http/tracing.py)."""

    traceparent: str  # W3C's header: the trace, and the span below which the replica's are
    settings: Settings  # of the gateway


@dataclass(frozen=True)
class Question:
    """A prompt and how to answer it.

    `pieces` asks for every token as it is generated; `logprobs` for the log-probability of each token and of this
    many of the likeliest (0 to 5, None: none). `prompt_pieces` asks for the tokens of the prompt as pieces, too, and
    `only_prompt` for nothing else. `client` says who asks: clients share a busy bot fairly.
    """

    prompt: str | tuple[int, ...]  # a text, or its tokens
    parameters: Parameters = field(default_factory=lambda: Parameters())
    logprobs: int | None = None
    pieces: bool = False
    prompt_pieces: bool = False
    only_prompt: bool = False
    client: str = ""
    watermark: bytes | None = field(default=None, repr=False)  # the secret of the watermark that the texts get
    trace: Trace | None = None


class Piece(TypedDict):
    """One token. The texts of a choice's generated pieces, joined, are the choice's text."""

    index: int  # of the choice
    token: int
    name: str  # the token's own text; "bytes:\\xf0\\x9f" for a part of a character
    text: str  # empty while a character or a possible stop string is incomplete
    logprob: float
    top: dict[str, float]  # log-probabilities by name: of this token and of as many of the likeliest as were asked for
    special: bool  # it is the token that separates tweets
    finish_reason: str | None  # of the choice, with its last piece
    from_prompt: bool


class Choice(TypedDict):
    """One finished text, without the prompt."""

    text: str
    tokens: int
    finish_reason: str  # stop, length or cancelled
    pieces: NotRequired[list[Piece]]


class Part(TypedDict):
    """A part of an answer: `pieces` as they are generated, where they are asked for, then `choices`, once."""

    prompt_tokens: int  # that the model read, the separator included
    version: str  # of the bot that answers
    pieces: NotRequired[list[Piece]]
    choices: NotRequired[list[Choice]]


class Answer(TypedDict):
    """A whole answer: what is left when all parts have arrived."""

    prompt_tokens: int
    version: str
    choices: list[Choice]


class ErrorData(TypedDict):
    """Why there is no answer: the arguments of serve.http.errors.ApiError."""

    code: int
    type: str
    message: str
    retry_after: int | None  # seconds


class PoolCounts(TypedDict):
    """What a pool's worker did since its last answer."""

    loads: int
    load_seconds: list[float]
    evictions: int


class ReplicaPart(Part):
    """A part as a replica sends it: the last one has choices and what the gateway counts, or an error."""

    error: NotRequired[ErrorData]
    batch: NotRequired[int]  # sequences that the engine decoded together in the end
    replica_seconds: NotRequired[float]  # since the replica became ready
    pool: NotRequired[PoolCounts]
