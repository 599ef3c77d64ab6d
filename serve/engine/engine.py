"""Batched decoding without Ray: a model that answers many requests at once.

    engine = Engine(folder)
    engine.generate([Request("My dream is", Parameters(num_return_sequences=3))])[0][0].text

Continuous batching: a request joins at the next step, a finished or cancelled one leaves at once. The active
sequences (sequence.py) own the first rows of one static key-value cache (kv.py), each with a length of its own;
network.py computes their logits, sampling.py chooses their tokens, text.py turns these into text. The answer to a
request with a seed depends on the seed alone, not on the batch. docs/engine.md explains why, and how fast it is.
"""

import secrets
import time
from collections import Counter, deque
from collections.abc import Sequence as Tokens
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pipeline.core.cuda_graph import CudaGraphs
from serve.engine.kv import ROWS, KVCache, Span
from serve.engine.network import LOOK_BACK, decode, load_network
from serve.engine.no_copies import Copies
from serve.engine.request import Choice, DamagedModel, Request
from serve.engine.sampling import penalise, sample
from serve.engine.sequence import Sequence
from serve.engine.text import Text, Vocabulary
from serve.engine.watermark import Watermark

MAX_TOKENS = 160  # in all, prompt included, unless asked otherwise: the original's
MIN_TOKENS = 10
_LONGEST = 2048  # positions that a sequence has at most
_REDRAWS = 20  # of a token that would complete a copy
_TURN = 4  # texts of a request that are admitted before the next request has its turn
_PROMPTS = 512  # prompt tokens read between two steps, so that long prompts do not hold up the others
_STRETCH = 256  # positions: on a GPU steps look back over this, twice this, four times …


class Engine:
    """A model folder, ready to answer. Not thread-safe: one thread adds requests and steps."""

    def __init__(
        self,
        folder: Path,
        max_batch: int = 32,
        int8: bool = False,
        no_copies: bool = False,
        device: str | None = None,  # a GPU where there is one
    ):
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        cuda = self.device.type == "cuda"
        self.vocabulary = Vocabulary.of(folder)
        self.separator = self.vocabulary.separator
        self._ends = torch.tensor(sorted(self.vocabulary.ends), device=self.device)
        self.network = load_network(folder, self.device, torch.bfloat16 if cuda else torch.float32, int8)
        self.capacity = min(self.network.positions or _LONGEST, _LONGEST)
        self.max_batch = max_batch
        self.copies = Copies.of(folder) if no_copies else None
        # On a GPU other numbers of rows may mean other kernels, whose results differ in the last bits; there a
        # step always has all rows, and a pass over prompts of one length always the same number, which costs little.
        self._fixed, self._rows = cuda, max_batch if cuda else ROWS
        self._cache = KVCache(self.network.layers)
        self._graphs = CudaGraphs(self._decode, warmup=1) if cuda and self.network.recordable else None
        self._waiting: deque[Sequence] = deque()
        self._active: list[Sequence] = []
        self._turn = 0  # the latest turn that was admitted

    @property
    def busy(self) -> bool:
        """Whether any request is waiting or active."""
        return bool(self._waiting or self._active)

    @property
    def batch(self) -> int:
        """The number of sequences that it decodes together now."""
        return len(self._active)

    @property
    def bytes(self) -> int:
        """The memory that it holds: weights, and the cache of the active sequences (none when idle)."""
        return self.network.bytes + self._cache.bytes + (self.copies.runs.nbytes if self.copies else 0)

    def clear(self) -> None:
        """Forgets all requests."""
        self._waiting.clear()
        self._active.clear()
        self._release()

    def _release(self) -> None:
        self._cache.release()
        if self._graphs:
            self._graphs.forget()

    def load_weights(self, path: Path) -> None:
        """Loads another bot's weights of the same shapes, while the engine is idle.

        Raises ValueError if the shapes differ.
        """
        self.network.load(path)

    def add(self, request: Request) -> None:
        """Queues a request; `on_done` is called, in a later `step`, with its choices in order.

        Raises ValueError if the prompt leaves no room for an answer.
        """
        parameters = request.parameters
        text = self._tokens(request.prompt)
        prompt = [self.separator, *text]
        room = self.capacity - len(prompt)
        if room < 1:
            raise ValueError(f"the prompt has {len(prompt)} tokens, and this bot takes {self.capacity - 1}")
        request.prompt_tokens = len(prompt)
        if request.only_prompt and not text:
            raise ValueError("the prompt is empty, and nothing is to be generated")
        asked = 0 if request.only_prompt else parameters.max_new_tokens or max(1, MAX_TOKENS - len(prompt))
        max_new = min(asked, room)
        default_min = max(0, MIN_TOKENS - len(prompt))
        min_new = min(default_min if parameters.min_new_tokens is None else parameters.min_new_tokens, max_new)
        seed = secrets.randbits(63) if parameters.seed is None else parameters.seed
        stops = ("\n", *parameters.stop)
        for index in range(parameters.num_return_sequences):
            rng = np.random.default_rng([seed, index])
            grown = Text(self.vocabulary, text, stops)
            read = Text(self.vocabulary, [], ())
            watermark = Watermark(request.watermark, seed, index) if request.watermark else None
            sequence = Sequence(request, index, list(prompt), max_new, min_new, rng, grown, read, watermark)
            if request.prompt_pieces or request.only_prompt:
                sequence.prompt, sequence.unread = prompt[:1], deque(text)  # read like an answer, token by token
            sequence.turn = self._turn + index // _TURN
            self._waiting.append(sequence)

    def _tokens(self, prompt: str | Tokens[int]) -> list[int]:
        """The tokens of a prompt. Raises ValueError if it contains a number that is no token of the model."""
        if isinstance(prompt, str):
            return self.vocabulary.encode(prompt)
        if not all(0 <= token < self.network.tokens for token in prompt):
            raise ValueError(f"the prompt's tokens must be numbers from 0 to {self.network.tokens - 1}")
        return list(prompt)

    def generate(self, requests: list[Request]) -> list[list[Choice]]:
        """Answers all requests; each answer is the request's choices in order. Raises ValueError and DamagedModel."""
        for request in requests:
            self.add(request)
        while self.busy:
            self.step()
        return [[choice for _, choice in sorted(request.choices.items())] for request in requests]

    @torch.inference_mode()
    def step(self) -> None:
        """One token for every active sequence, after waiting ones have joined and cancelled ones have left.

        Raises DamagedModel if logits are not numbers; `clear` makes the engine usable again.
        """
        self._drop_cancelled()
        if self._waiting and len(self._active) < self.max_batch:
            self._admit()
        if self._active:
            self._advance()
        if not self.busy:
            self._release()

    def _advance(self) -> None:
        """One pass over the newest token of each row; rows beyond the active sequences only pad the shape."""
        rows, spare = len(self._active), -len(self._active) % self._rows
        tokens = [sequence.newest for sequence in self._active] + [self.separator] * spare
        newest = [sequence.length - 1 for sequence in self._active] + [0] * spare
        length = self._reserve(rows + spare, max(newest) + 1)
        decode_step = self._graphs or self._decode
        logits = decode_step(torch.tensor([tokens, newest], device=self.device), length)
        self._take(logits[:rows], list(range(rows)))

    def _decode(self, inputs: Tensor, length: int) -> Tensor:
        return decode(self.network, inputs, length, self._cache)

    def _reserve(self, rows: int, positions: int) -> int:
        """Makes room in the cache; returns over how many of its positions a step looks back."""
        length = _padded(positions)
        if self._fixed:
            rows, length = self.max_batch, min(_STRETCH, _padded(self.capacity))
            while length < positions:
                length *= 2
        moved = self._cache.reserve(rows, length)
        if moved and self._graphs:
            self._graphs.forget()  # they hold the cache's old addresses
        return length

    def _admit(self) -> None:
        """Activates waiting sequences and reads their prompts: those of one length together, each once."""
        groups: dict[int, list[list[int]]] = {}  # by padded length of prompt: the rows of each request
        own_rows: dict[int, list[int]] = {}  # the same, by id of the request
        budget, clients = _PROMPTS, Counter(one.request.client for one in self._active)
        while self._waiting and len(self._active) < self.max_batch:
            place = self._next(clients)
            sequence = self._waiting[place]
            length, request = _padded(len(sequence.prompt)), id(sequence.request)
            if request not in own_rows:
                if own_rows and budget < length:
                    break
                budget -= length
                groups.setdefault(length, []).append(own_rows.setdefault(request, []))
            own_rows[request].append(len(self._active))
            clients[sequence.request.client] += 1
            sequence.request.admitted = sequence.request.admitted or time.time_ns()
            self._turn = max(self._turn, sequence.turn)
            self._active.append(sequence)
            del self._waiting[place]
        self._reserve(len(self._active), max(groups))
        logits, order = [], []
        for length, requests in groups.items():
            together = max(1, _PROMPTS // length) if self._fixed else len(requests)
            for first in range(0, len(requests), together):
                members = requests[first : first + together]
                logits.append(self._read(members, length, together))
                order += [row for rows in members for row in rows]
        self._take(torch.cat(logits), order)

    def _next(self, clients: Counter[str]) -> int:
        """The place of the waiting sequence to admit: of the client with the fewest active ones, given by `clients`.

        Of that client's sequences, the one with the earliest turn, and then the one that came first. So no client waits
        for everything that another one asked before, and no short request for all texts of a long one.
        """
        waiting = self._waiting
        return min(range(len(waiting)), key=lambda i: (clients[waiting[i].request.client], waiting[i].turn, i))

    def _read(self, requests: list[list[int]], length: int, count: int) -> Tensor:
        """One pass over the prompts of requests, filled up to `count`; logits [rows, vocabulary] of all their rows."""
        prompts = [self._active[rows[0]].prompt for rows in requests]
        prompts += [[self.separator]] * (count - len(requests))
        tokens = torch.tensor([prompt + [self.separator] * (length - len(prompt)) for prompt in prompts])
        positions = torch.arange(length, device=self.device).clamp(max=self.capacity - 1).expand(len(prompts), -1)
        last = torch.tensor([len(prompt) - 1 for prompt in prompts], device=self.device)
        source = torch.tensor([i for i, rows in enumerate(requests) for _ in rows], device=self.device)
        rows = torch.tensor([row for rows in requests for row in rows], device=self.device)
        span = Span(rows, length, source=source)
        return self.network(tokens.to(self.device), positions, last, span, self._cache)[source]

    def _take(self, logits: Tensor, rows: list[int]) -> None:
        """Chooses a token for each of the rows from logits [len(rows), vocabulary]; finished sequences leave."""
        sequences = [self._active[row] for row in rows]
        logits = logits.float()
        if not bool(logits.amax(-1).isfinite().all()):
            raise DamagedModel("the weights compute something that is not a number")
        log_probabilities = _log_probabilities(logits, sequences)
        for row, sequence in enumerate(sequences):
            if sequence.request.parameters.repetition_penalty != 1:
                penalise(logits[row], sequence.request.parameters.repetition_penalty, sequence.prompt + sequence.ids)
        early = [row for row, sequence in enumerate(sequences) if len(sequence.ids) < sequence.min_new]
        if early:
            ends = self._ends[self._ends < logits.shape[1]]  # a tokenizer may have more tokens than the weights
            logits[torch.tensor(early)[:, None], ends] = -torch.inf
        draws = [0.0 if sequence.unread else float(sequence.rng.random()) for sequence in sequences]
        noise_seeds = [sequence.noise_seed() for sequence in sequences]
        tokens = sample(logits, [sequence.request.parameters for sequence in sequences], draws, noise_seeds)
        if self.copies:
            tokens = [
                token if sequence.unread else self._original(sequence, row_logits, token)
                for sequence, row_logits, token in zip(sequences, logits, tokens, strict=True)
            ]
        finished = []
        for i, (row, sequence, token) in enumerate(zip(rows, sequences, tokens, strict=True)):
            known = log_probabilities.get(i)
            reason = sequence.read(known) if sequence.unread else sequence.append(token, known)
            if reason:
                finished.append((row, reason))
        for row, reason in sorted(finished, reverse=True):
            self._finish(row, reason)

    def _original(self, sequence: Sequence, logits: Tensor, token: int) -> int:
        """The token, or another one that is drawn if the text would be a copy; after too many draws the separator."""
        assert self.copies
        for _ in range(_REDRAWS):
            ended = token in self.vocabulary.ends
            text = self.vocabulary.decode(sequence.prompt[1:] + sequence.ids + ([] if ended else [token]))
            if not self.copies.forbids(text, ended or text.endswith("\n")):
                return token
            logits[token] = -torch.inf
            (token,) = sample(logits[None], [sequence.request.parameters], [float(sequence.rng.random())])
        return self.separator

    def _drop_cancelled(self) -> None:
        for row in range(len(self._active) - 1, -1, -1):
            if self._active[row].request.cancelled:
                self._finish(row, "cancelled")
        for sequence in [one for one in self._waiting if one.request.cancelled]:
            self._waiting.remove(sequence)
            sequence.close("cancelled")

    def _finish(self, row: int, reason: str) -> None:
        """Removes the sequence of a row; the last row moves into its place."""
        sequence, last = self._active[row], self._active.pop()
        if last is not sequence:
            self._cache.move(len(self._active), row, last.length)
            self._active[row] = last
        sequence.close(reason)


def _padded(length: int) -> int:
    return -(-length // LOOK_BACK) * LOOK_BACK


def _log_probabilities(logits: Tensor, sequences: list[Sequence]) -> dict[int, Tensor]:
    """Log-probabilities [vocabulary] of the sequences whose requests want them, by number."""
    rows = [i for i, one in enumerate(sequences) if one.request.on_piece or one.request.logprobs is not None]
    return dict(zip(rows, torch.log_softmax(logits[rows], -1), strict=True)) if rows else {}
