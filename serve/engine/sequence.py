"""One text while it is generated: its tokens, its random numbers, and the reason why it ends.

reason = sequence.append(token, log_probabilities)      # None while it continues
"""

import time
from collections import deque
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor

from serve.engine.request import Choice, Logprob, Piece, Request
from serve.engine.text import Text
from serve.engine.watermark import Watermark


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
    prompt_text: Text
    watermark: Watermark | None = None
    turn: int = 0  # in which it may be admitted, after those of earlier turns
    unread: deque[int] = field(default_factory=deque)  # of the prompt, where each of its tokens is reported
    ids: list[int] = field(default_factory=list)  # the tokens generated so far
    pieces: list[str] = field(default_factory=list)  # their texts
    logprobs: list[Logprob] = field(default_factory=list)

    @property
    def length(self) -> int:
        """Tokens so far, the prompt's included."""
        return len(self.prompt) + len(self.ids)

    @property
    def newest(self) -> int:
        """The last token so far."""
        return self.ids[-1] if self.ids else self.prompt[-1]

    def noise_seed(self) -> int | None:
        """The noise seed of the next token, if a watermark chooses it; called once for each token."""
        return self.watermark.noise_seed(self.prompt, self.ids) if self.watermark and not self.unread else None

    def read(self, log_probabilities: Tensor | None) -> str | None:
        """Reads the next token of the prompt and reports it; returns the reason if the text ends before it began."""
        token = self.unread.popleft()
        self.prompt.append(token)
        text, _ = self.prompt_text.add(token)
        reason = None
        if not self.unread:
            text += self.prompt_text.end()
            reason = "length" if self.max_new == 0 else None
        if log_probabilities is not None:
            self._report(token, text, log_probabilities, reason, from_prompt=True)
        return reason

    def append(self, token: int, log_probabilities: Tensor | None) -> str | None:
        """Adds a token and reports it to the request; returns the reason if the text ends with it.

        `log_probabilities` [vocabulary] are needed where the request wants pieces or log-probabilities.
        """
        self.request.first_token = self.request.first_token or time.time_ns()
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

    def _report(
        self, token: int, text: str, log_probabilities: Tensor, reason: str | None, from_prompt: bool = False
    ) -> None:
        vocabulary = self.text.vocabulary
        name, logprob = vocabulary.name(token), float(log_probabilities[token])
        top = self._top(log_probabilities)
        if top:
            top[name] = logprob
        if self.request.logprobs is not None:
            self.logprobs.append(Logprob(name, logprob, top))
        if self.request.on_piece:
            special = token in vocabulary.ends and not from_prompt
            self.request.on_piece(Piece(self.index, token, name, text, logprob, reason, top, special, from_prompt))

    def _top(self, log_probabilities: Tensor) -> dict[str, float]:
        if not self.request.logprobs:
            return {}
        values, ids = log_probabilities.topk(self.request.logprobs)
        names = map(self.text.vocabulary.name, ids.tolist())
        return dict(zip(names, values.tolist(), strict=True))

    def close(self, reason: str) -> None:
        """Hands the text to its request, which is done with the last of its choices."""
        request = self.request
        request.choices[self.index] = Choice("".join(self.pieces), len(self.ids), reason, self.logprobs)
        if len(request.choices) == request.parameters.num_return_sequences:
            request.on_done([choice for _, choice in sorted(request.choices.items())])
