"""A step recorded once as a CUDA graph and replayed: a GPU's work without Python's.

    step = Recorded(step)
    loss = step(blocks)          # int64 [batch, block]; what `step` returns, on the device

At a bot's sizes a GPU is done with a step's thousand kernels long before Python has launched them one by one; a
graph launches all of them at once. What is recorded are addresses: a step may change weights, moments and rates in
place only, and must not ask the GPU for a number.
"""

from collections import Counter
from collections.abc import Callable

import torch
from torch import Tensor

_TIMES = 8  # a shape is seen before it is recorded: few bots have a last, short one of their own


class Recorded:
    """`step`, once it is known for a shape of blocks."""

    def __init__(self, step: Callable[[Tensor], Tensor]):
        self.step = step
        self._seen: Counter[torch.Size] = Counter()
        self._graphs: dict[torch.Size, tuple[torch.cuda.CUDAGraph, Tensor, Tensor]] = {}
        self._stream = torch.cuda.Stream()

    def __call__(self, blocks: Tensor) -> Tensor:
        if blocks.shape not in self._graphs:
            self._seen[blocks.shape] += 1
            if self._seen[blocks.shape] <= _TIMES:
                return self._by_hand(blocks)
            self._graphs[blocks.shape] = self._record(blocks.clone())
        graph, read, loss = self._graphs[blocks.shape]
        read.copy_(blocks)
        graph.replay()
        return loss.clone()

    def _by_hand(self, blocks: Tensor) -> Tensor:
        """On the stream that records later, so that everything which is made on first use is made for it."""
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            loss = self.step(blocks)
        torch.cuda.current_stream().wait_stream(self._stream)
        return loss

    def _record(self, read: Tensor) -> tuple[torch.cuda.CUDAGraph, Tensor, Tensor]:
        """The graph, the blocks that it reads and the loss that it writes. Nothing is computed yet."""
        graph = torch.cuda.CUDAGraph()
        pool = next(iter(self._graphs.values()))[0].pool() if self._graphs else None
        with torch.cuda.graph(graph, pool=pool, stream=self._stream, capture_error_mode="thread_local"):
            loss = self.step(read)
        return graph, read, loss
