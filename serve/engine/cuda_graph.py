"""A decoding step recorded once as a CUDA graph and replayed: one launch where there were hundreds.

    step = RecordedStep(network, cache, rows=32, device=device)
    logits = step(inputs, length)            # [rows, vocabulary], valid until the next step

At a bot's size a GPU waits for Python most of a step. A graph holds the addresses of weights and cache, so there is
one for each span looked back over, and all are forgotten when the cache moves or other weights come.
"""

import threading

import torch
from torch import Tensor

from serve.engine.kv import KVCache
from serve.engine.network import Network, decode

_recording = threading.Lock()  # a process records one graph at a time


class RecordedStep:
    """`decode` on a GPU, with the engine's rows and cache."""

    def __init__(self, network: Network, cache: KVCache, rows: int, device: torch.device):
        self.network, self.cache = network, cache
        self._inputs = torch.zeros(2, rows, dtype=torch.long, device=device)
        self._graphs: dict[int, tuple[torch.cuda.CUDAGraph, Tensor]] = {}
        self._room: tuple[int, int] | None = None

    def __call__(self, inputs: Tensor, length: int) -> Tensor:
        """See `decode`; the cache must have room for all rows."""
        self._inputs.copy_(inputs)
        if self._room != (self.cache.rows, self.cache.positions):
            self.forget()
        if length not in self._graphs:
            self._graphs[length] = self._record(length)
        graph, logits = self._graphs[length]
        graph.replay()
        return logits

    def forget(self) -> None:
        """The cache or the weights are not where they were."""
        self._graphs.clear()
        self._room = (self.cache.rows, self.cache.positions)

    def _record(self, length: int) -> tuple[torch.cuda.CUDAGraph, Tensor]:
        # once by hand: what is made on first use is there before; the step itself will write the same again
        decode(self.network, self._inputs, length, self.cache)
        graph = torch.cuda.CUDAGraph()
        with _recording, torch.cuda.graph(graph, capture_error_mode="thread_local"):
            logits = decode(self.network, self._inputs, length, self.cache)
        return graph, logits
