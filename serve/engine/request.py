"""What goes into an engine and comes out of it: a request, its pieces as they are generated, its choices.

Request("My dream is", Parameters(num_return_sequences=3), on_piece=lambda piece: print(piece.text))
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from serve.engine.parameters import Parameters


@dataclass
class Logprob:
    """A generated token with the natural logarithm of its probability, and those of the likeliest tokens.

    The probabilities are the model's own, before any sampling parameter.
    """

    token: str
    logprob: float
    top: dict[str, float]


@dataclass
class Piece:
    """One generated token, or one of the prompt where the request asks for these.

    The text is "" while a character or a possible stop string is incomplete. The texts of a choice's pieces, joined,
    are the choice's text. The last piece has the finish_reason.
    """

    index: int  # of the choice within the request
    token: int
    name: str  # the token's own text; "bytes:\\xf0\\x9f" for a part of a character
    text: str
    logprob: float
    finish_reason: str | None = None
    top: dict[str, float] = field(default_factory=dict)  # by name: this token and the request's `logprobs` likeliest
    special: bool = False  # the token ends the text and is none of it
    from_prompt: bool = False


@dataclass
class Choice:
    """One finished text of a request."""

    text: str  # what was generated, without the prompt
    tokens: int
    finish_reason: str  # stop, length, cancelled
    logprobs: list[Logprob] = field(default_factory=list)  # of each token, where the request asks for them


class DamagedModel(RuntimeError):
    """The weights of a model compute something that is not a number."""


@dataclass
class Request:
    """A question to one engine, with its callbacks and its answer.

    `on_piece` is called for every token, `on_done` with the choices in order. The thread that steps the engine calls
    both, so they must be quick and raise nothing. `logprobs` asks for the log-probability of each token and of this
    many of the likeliest (0 to 5). `prompt_pieces` asks for a piece for each token of the prompt, too, and
    `only_prompt` for nothing else. Setting `cancelled` stops the request.
    """

    prompt: str | Sequence[int]  # a text, or its tokens
    parameters: Parameters = field(default_factory=lambda: Parameters())
    on_piece: Callable[[Piece], None] | None = None
    on_done: Callable[[list[Choice]], None] = lambda choices: None
    cancelled: bool = False
    logprobs: int | None = None
    prompt_pieces: bool = False
    only_prompt: bool = False
    watermark: bytes | None = field(default=None, repr=False)  # the secret of the watermark that the texts get
    client: str = ""  # who asks: those who wait share an engine fairly
    prompt_tokens: int = 0  # that the model reads, the separator included; set when the request is added
    choices: dict[int, Choice] = field(default_factory=dict)
    admitted: int = 0  # when its first text joined the batch, in nanoseconds since 1970; 0 until then
    first_token: int = 0  # when the first token was generated
