"""One text while it is generated: its tokens, its random numbers, and the reason why it ends.

reason = sequence.append(token, log_probabilities)      # None while it continues
"""

from dataclasses import dataclass, field

import numpy as np
from torch import Tensor

from serve.engine.request import Choice, Logprob, Piece, Request
from serve.engine.text import Text


@dataclass
class Sequence:
    """One choice of a request. While it is active it owns a row of the cache."""

    request: Request
    index: int  # of the choice within the request
    prompt: list[int]
    max_new: int
    min_new: int
    rng: np.random.Generator
    text: Text
    ids: list[int] = field(default_factory=list)  # the tokens generated so far
    pieces: list[str] = field(default_factory=list)  # their texts
    logprobs: list[Logprob] = field(default_factory=list)

    @property
    def length(self) -> int:
        """Tokens so far, the prompt's included."""
        return len(self.prompt) + len(self.ids)

    def append(self, token: int, log_probabilities: Tensor | None) -> str | None:
        """Adds a token and reports it to the request; returns the reason if the text ends with it.

        `log_probabilities` [vocabulary] are needed where the request wants pieces or log-probabilities.
        """
        self.ids.append(token)
        if token in self.text.vocabulary.ends:
            text, reason = self.text.end(), "stop"
        else:
            text, stopped = self.text.add(token)
            reason = "stop" if stopped else ""
        if not reason and len(self.ids) >= self.max_new:
            text, reason = text + self.text.end(), "length"
        self.pieces.append(text)
        if log_probabilities is not None:
            self._report(token, text, log_probabilities, reason or None)
        return reason or None

    def _report(self, token: int, text: str, log_probabilities: Tensor, reason: str | None) -> None:
        logprob, top = float(log_probabilities[token]), self._top(log_probabilities)
        if self.request.logprobs is not None:
            self.logprobs.append(Logprob(self.text.vocabulary.token(token), logprob, top))
        if self.request.on_piece:
            special = token in self.text.vocabulary.ends
            self.request.on_piece(Piece(self.index, token, text, logprob, reason, top, special))

    def _top(self, log_probabilities: Tensor) -> dict[str, float]:
        if not self.request.logprobs:
            return {}
        values, ids = log_probabilities.topk(self.request.logprobs)
        texts = map(self.text.vocabulary.token, ids.tolist())
        return dict(zip(texts, values.tolist(), strict=True))

    def close(self, reason: str) -> None:
        """Hands the text to its request, which is done with the last of its choices."""
        request = self.request
        request.choices[self.index] = Choice("".join(self.pieces), len(self.ids), reason, self.logprobs)
        if len(request.choices) == request.parameters.num_return_sequences:
            request.on_done([choice for _, choice in sorted(request.choices.items())])
