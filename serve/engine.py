"""Weights and batched decoding, no Ray: a model that answers many requests at once.

    engine = Engine(folder)
    engine.generate([Request("My dream is", Parameters(num_return_sequences=3))])[0][0].text

Continuous batching: a request joins at the next step, a finished or cancelled one leaves at once. The
sequences at work stand in the first rows of one static key-value cache, each with a length of its own;
a leaving row is overwritten by the last one, so nothing is ever padded anew. What a seeded request says
depends on its seed alone, not on the batch.
"""

import queue
import secrets
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers.cache_utils import Cache, CacheLayerMixin

from pipeline.model import load_model, load_tokenizer, load_weights, positions, separator_id
from serve.schema import Parameters

MAX_TOKENS = 160  # in all, prompt included, unless asked otherwise: the original's
MIN_TOKENS = 10
_LONGEST = 2048  # positions the cache holds at most


@dataclass
class Choice:
    text: str  # what was generated, without the prompt
    tokens: int
    finish_reason: str  # stop, length, cancelled


@dataclass
class Request:
    prompt: str
    parameters: Parameters = field(default_factory=lambda: Parameters())
    on_done: Callable[[list[Choice]], None] = lambda choices: None
    cancelled: bool = False
    choices: dict[int, Choice] = field(default_factory=dict)


@dataclass
class _Sequence:
    """One choice of a request at work: it owns a row of the cache."""

    request: Request
    index: int  # which of the request's choices
    prompt: list[int]
    max_new: int
    min_new: int
    rng: np.random.Generator
    ids: list[int] = field(default_factory=list)  # generated so far

    @property
    def length(self) -> int:
        return len(self.prompt) + len(self.ids)


class _Rows:
    """Which rows of the cache a forward pass works on, where it writes, and how far it looks back."""

    first, count, span = 0, 0, 0
    at = torch.zeros(0, dtype=torch.long)  # [count]: each row's next position


class _SlotLayer(CacheLayerMixin):
    """One layer's keys and values, [rows, heads, positions, dim]; written where `_Rows` says."""

    is_sliding = False

    def __init__(self, rows: _Rows, max_batch: int, capacity: int):
        super().__init__()
        self.rows, self.max_batch, self.capacity = rows, max_batch, capacity

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        def room(states: torch.Tensor) -> torch.Tensor:
            return states.new_zeros(self.max_batch, states.shape[1], self.capacity, states.shape[3])

        self.keys, self.values, self.is_initialized = room(key_states), room(value_states), True

    keys: torch.Tensor
    values: torch.Tensor

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        rows = slice(self.rows.first, self.rows.first + self.rows.count)
        keys, values = self.keys[rows], self.values[rows]
        new = key_states.shape[2]
        if new == 1:
            row = torch.arange(self.rows.count, device=keys.device)
            keys[row, :, self.rows.at] = key_states[:, :, 0]
            values[row, :, self.rows.at] = value_states[:, :, 0]
        else:
            keys[:, :, :new] = key_states
            values[:, :, :new] = value_states
        return keys[:, :, : self.rows.span], values[:, :, : self.rows.span]

    def copy_row(self, source: int, target: int, length: int) -> None:
        self.keys[target, :, :length] = self.keys[source, :, :length]
        self.values[target, :, :length] = self.values[source, :, :length]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.rows.span, 0

    def get_seq_length(self) -> int:
        return 0  # positions are always given

    def get_max_length(self) -> int:
        return self.capacity


class Engine:
    """A model folder, ready to answer. Not thread-safe: one thread adds requests and steps."""

    def __init__(self, folder: Path, max_batch: int = 32):
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        dtype = torch.bfloat16 if self.device.type == "cuda" else torch.float32
        self.model: Any = load_model(folder).eval()
        self.model.to(self.device, dtype)
        self.tokenizer = load_tokenizer(folder)
        self.separator = separator_id(self.tokenizer)
        self.max_batch = max_batch
        self.capacity = min(positions(self.model.config.to_dict()) or _LONGEST, _LONGEST)
        self._rows = _Rows()
        layers = self.model.config.num_hidden_layers
        self._layers = [_SlotLayer(self._rows, max_batch, self.capacity) for _ in range(layers)]
        self._cache = Cache(layers=list(self._layers))
        self._waiting: deque[_Sequence] = deque()
        self._active: list[_Sequence] = []
        self._last = torch.zeros(max_batch, dtype=torch.long)  # each row's newest token
        breaks = [i for i in range(len(self.tokenizer)) if "\n" in self.tokenizer.decode([i])]
        self._line_breaks = set(breaks)

    @property
    def busy(self) -> bool:
        return bool(self._waiting or self._active)

    def clear(self) -> None:
        """Forgets all requests."""
        self._waiting.clear()
        self._active.clear()

    def load_weights(self, path: Path) -> None:
        """Takes over another bot's weights of the same shapes, in place; nothing may be under way."""
        load_weights(self.model, path)

    def add(self, request: Request) -> None:
        """Queues a request; `on_done` is called, in a later `step`, with its choices in order.

        Raises ValueError where the prompt leaves no room for an answer.
        """
        parameters = request.parameters
        prompt = self.tokenizer.encode(request.prompt, add_special_tokens=False, split_special_tokens=True)
        prompt = [self.separator, *prompt]
        room = self.capacity - len(prompt)
        if room < 1:
            raise ValueError(f"the prompt has {len(prompt)} tokens, and this bot takes {self.capacity - 1}")
        max_new = min(parameters.max_new_tokens or max(1, MAX_TOKENS - len(prompt)), room)
        default_min = max(0, MIN_TOKENS - len(prompt))
        min_new = min(default_min if parameters.min_new_tokens is None else parameters.min_new_tokens, max_new)
        seed = secrets.randbits(63) if parameters.seed is None else parameters.seed
        for index in range(parameters.num_return_sequences):
            rng = np.random.default_rng([seed, index])
            self._waiting.append(_Sequence(request, index, prompt, max_new, min_new, rng))

    def generate(self, requests: list[Request]) -> list[list[Choice]]:
        """Answers all requests, in bulk; each answer is the request's choices in order."""
        for request in requests:
            self.add(request)
        while self.busy:
            self.step()
        return [[choice for _, choice in sorted(request.choices.items())] for request in requests]

    @torch.inference_mode()
    def step(self) -> None:
        """One token for every sequence at work, after letting waiting ones in and cancelled ones go."""
        self._drop_cancelled()
        while self._waiting and len(self._active) < self.max_batch:
            self._admit()
        if not self._active:
            return
        count = len(self._active)
        lengths = [sequence.length for sequence in self._active]
        at = torch.tensor(lengths, device=self.device) - 1  # the newest token is not in the cache yet
        rows = self._rows
        rows.first, rows.count, rows.at, rows.span = 0, count, at, max(lengths)
        seen = torch.arange(rows.span, device=self.device)[None, :] <= at[:, None]
        logits = self.model(
            input_ids=self._last[:count, None].to(self.device),
            position_ids=at[:, None],
            attention_mask=seen[:, None, None, :],
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=1,
        ).logits[:, -1]
        self._take(logits, list(range(count)))

    def _admit(self) -> None:
        """Brings the first waiting request's choices to work: one pass over the prompt serves them all."""
        first = self._waiting[0]
        row, length = len(self._active), len(first.prompt)
        members: list[_Sequence] = []
        while self._waiting and self._waiting[0].request is first.request and row + len(members) < self.max_batch:
            members.append(self._waiting.popleft())
        rows = self._rows
        rows.first, rows.count, rows.span = row, 1, length
        rows.at = torch.zeros(1, dtype=torch.long, device=self.device)
        causal = torch.ones(length, length, dtype=torch.bool, device=self.device).tril()
        logits = self.model(
            input_ids=torch.tensor([first.prompt], device=self.device),
            position_ids=torch.arange(length, device=self.device)[None],
            attention_mask=causal[None, None],
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=1,
        ).logits[:, -1]
        for i in range(1, len(members)):
            for layer in self._layers:
                layer.copy_row(row, row + i, length)
        self._active += members
        self._take(logits.expand(len(members), -1), list(range(row, row + len(members))))

    def _take(self, logits: torch.Tensor, rows: list[int]) -> None:
        """Samples a token for each of the rows from logits [len(rows), vocabulary]; lets finished ones go."""
        sequences = [self._active[row] for row in rows]
        ids = _sample(self._adjusted(logits.float().cpu(), sequences), sequences)
        for row, sequence, token in zip(rows, sequences, ids, strict=True):
            sequence.ids.append(token)
            self._last[row] = token
        for row in reversed(rows):
            reason = self._finished(self._active[row])
            if reason:
                self._finish(row, reason)

    def _adjusted(self, logits: torch.Tensor, sequences: list[_Sequence]) -> torch.Tensor:
        """Logits after the repetition penalty, and without the end where it would come too early."""
        logits = logits.clone()
        for row, sequence in enumerate(sequences):
            penalty = sequence.request.parameters.repetition_penalty
            if penalty != 1.0:
                used = torch.tensor(sorted({*sequence.prompt, *sequence.ids}))
                values = logits[row, used]
                logits[row, used] = torch.where(values > 0, values / penalty, values * penalty)
            if len(sequence.ids) < sequence.min_new:
                logits[row, self.separator] = -torch.inf
        return logits

    def _finished(self, sequence: _Sequence) -> str | None:
        token, stops = sequence.ids[-1], sequence.request.parameters.stop
        if token == self.separator or token in self._line_breaks:
            return "stop"
        if stops and any(stop in self._text(sequence.ids) for stop in stops):
            return "stop"
        return "length" if len(sequence.ids) >= sequence.max_new else None

    def _text(self, ids: list[int]) -> str:
        return str(self.tokenizer.decode(ids, clean_up_tokenization_spaces=False))

    def _drop_cancelled(self) -> None:
        for row in range(len(self._active) - 1, -1, -1):
            if self._active[row].request.cancelled:
                self._finish(row, "cancelled")
        for sequence in [one for one in self._waiting if one.request.cancelled]:
            self._waiting.remove(sequence)
            self._close(sequence, "cancelled")

    def _finish(self, row: int, reason: str) -> None:
        """Takes the sequence of a row out of the batch; the last row moves into its place."""
        sequence, last = self._active[row], len(self._active) - 1
        if row != last:
            for layer in self._layers:
                layer.copy_row(last, row, self._active[last].length)
            self._active[row] = self._active[last]
            self._last[row] = self._last[last]
        self._active.pop()
        self._close(sequence, reason)

    def _close(self, sequence: _Sequence, reason: str) -> None:
        """Hands in a sequence's text; the request is done with its last one."""
        request, stops = sequence.request, sequence.request.parameters.stop
        text = self._text([token for token in sequence.ids if token != self.separator])
        for stop in ("\n", *stops):
            text = text.split(stop, 1)[0]
        request.choices[sequence.index] = Choice(text, len(sequence.ids), reason)
        if len(request.choices) == request.parameters.num_return_sequences:
            request.on_done([choice for _, choice in sorted(request.choices.items())])


def _sample(logits: torch.Tensor, sequences: list[_Sequence]) -> list[int]:
    """One token per row of logits [n, vocabulary], by each sequence's own parameters and random numbers.

    top-k first, then temperature, then top-p, as transformers does; only the k best are ever sorted.
    """
    parameters = [sequence.request.parameters for sequence in sequences]
    vocabulary = logits.shape[1]
    ks = torch.tensor([min(one.top_k or vocabulary, vocabulary) if one.do_sample else 1 for one in parameters])
    best, ids = logits.topk(int(ks.max()))
    best = best.masked_fill(torch.arange(best.shape[1])[None] >= ks[:, None], -torch.inf)
    probabilities = torch.softmax(best / torch.tensor([one.temperature for one in parameters])[:, None], dim=-1)
    before = probabilities.cumsum(-1) - probabilities
    kept = probabilities * (before < torch.tensor([one.top_p for one in parameters])[:, None])
    total = kept.cumsum(-1)
    draws = torch.tensor([sequence.rng.random() for sequence in sequences], dtype=total.dtype)[:, None]
    chosen = torch.searchsorted(total, draws * total[:, -1:], right=True).clamp(max=best.shape[1] - 1)
    return ids.gather(1, chosen).flatten().tolist()


class EngineThread(threading.Thread):
    """Runs an engine for many callers: requests come in from any thread, answers are futures."""

    def __init__(self, engine: Engine):
        super().__init__(daemon=True, name="engine")
        self.engine = engine
        self._inbox: queue.SimpleQueue[tuple[Request, Future[list[Choice]]]] = queue.SimpleQueue()
        self._pending: set[Future[list[Choice]]] = set()
        self.start()

    def submit(self, request: Request) -> "Future[list[Choice]]":
        """The request's choices, as a future; ValueError in it where the prompt is too long."""
        future: Future[list[Choice]] = Future()
        self._inbox.put((request, future))
        return future

    def run(self) -> None:
        while True:
            while not self.engine.busy or not self._inbox.empty():
                self._accept(*self._inbox.get())
            try:
                self.engine.step()
            except Exception as error:
                self.engine.clear()
                for future in list(self._pending):
                    self._settle(future, error=error)

    def _accept(self, request: Request, future: "Future[list[Choice]]") -> None:
        self._pending.add(future)
        request.on_done = lambda choices: self._settle(future, choices)
        try:
            self.engine.add(request)
        except ValueError as error:
            self._settle(future, error=error)

    def _settle(
        self, future: "Future[list[Choice]]", choices: list[Choice] | None = None, error: Exception | None = None
    ) -> None:
        self._pending.discard(future)
        if not future.set_running_or_notify_cancel():
            return
        if error:
            future.set_exception(error)
        else:
            future.set_result(choices or [])
