"""What goes into the engine and comes out of it: a request, its pieces as they come, its choices.

Request("My dream is", Parameters(num_return_sequences=3), on_piece=lambda piece: print(piece.text))
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from serve.engine.parameters import Parameters


@dataclass
class Logprob:
    """A generated token, the logarithm of its probability (before any sampling parameter), and the likeliest."""

    token: str
    logprob: float
    top: dict[str, float]


@dataclass
class Piece:
    """One generated token, as it comes.

    The text is "" while a character or a possible stop string is incomplete; all pieces' texts, joined, are
    the choice's. The last piece of a choice has the finish_reason.
    """

    index: int  # which of the request's choices
    token: int
    text: str
    logprob: float
    finish_reason: str | None = None
    top: dict[str, float] = field(default_factory=dict)  # of the request's `logprobs` likeliest


@dataclass
class Choice:
    text: str  # what was generated, without the prompt
    tokens: int
    finish_reason: str  # stop, length, cancelled
    logprobs: list[Logprob] = field(default_factory=list)  # of each token, where the request asks for them


@dataclass
class Request:
    """`on_piece` is called for every token, `on_done` with the choices in order; both by the thread that steps
    the engine, so they are quick and raise nothing. `logprobs` asks for the probabilities of each token and of
    so many of the likeliest (0 to 5). Whoever sets `cancelled` stops it."""

    prompt: str
    parameters: Parameters = field(default_factory=lambda: Parameters())
    on_piece: Callable[[Piece], None] | None = None
    on_done: Callable[[list[Choice]], None] = lambda choices: None
    cancelled: bool = False
    logprobs: int | None = None
    prompt_tokens: int = 0  # what the model reads, the separator included; known once it is added
    choices: dict[int, Choice] = field(default_factory=dict)
