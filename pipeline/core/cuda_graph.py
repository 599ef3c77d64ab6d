"""Runs a function as a CUDA graph: recorded once for each shape of its input, then replayed with one launch.

    step = CudaGraphs(lambda blocks: blocks * 2, warmup=8)
    result = step(blocks)               # the ninth call with blocks of this shape records it

At a bot's sizes a GPU finishes a step's kernels long before Python has launched them one by one. A graph launches all
of them at once. It holds the addresses of the tensors that the function read and wrote while it was recorded. So the
function may change weights and caches in place only, and must not read a number back from the GPU.
"""

import threading
from collections import Counter
from collections.abc import Callable, Hashable
from typing import NamedTuple

import torch
from torch import Tensor

_recording = threading.Lock()  # a process can record one graph at a time


class _Graph(NamedTuple):
    graph: torch.cuda.CUDAGraph
    inputs: Tensor  # the graph reads them here
    output: Tensor  # and writes its result here


class CudaGraphs:
    """A function of a tensor and of constants, as one CUDA graph for each input shape and set of constants."""

    def __init__(self, function: Callable[..., Tensor], warmup: int):
        """`function(inputs, *constants)` returns one tensor; needs a CUDA device.

        `warmup`: how often a shape is computed without a graph first. At least once, so that what is allocated on first
        use exists before the recording; more often where most shapes occur only a few times.
        """
        self.function, self.warmup = function, warmup
        self._calls: Counter[Hashable] = Counter()
        self._graphs: dict[Hashable, _Graph] = {}
        self._stream = torch.cuda.Stream()

    def __call__(self, inputs: Tensor, *constants: Hashable) -> Tensor:
        """The function's result; a later call may overwrite it."""
        key = (inputs.shape, *constants)
        if key not in self._graphs:
            self._calls[key] += 1
            if self._calls[key] <= self.warmup:
                return self._launch(inputs, constants)
            self._graphs[key] = self._record(inputs.clone(), constants)
        recorded = self._graphs[key]
        recorded.inputs.copy_(inputs)
        recorded.graph.replay()
        return recorded.output

    def forget(self) -> None:
        """Drops all graphs: call it when a tensor that the function uses has moved."""
        self._graphs.clear()
        self._calls.clear()

    def _launch(self, inputs: Tensor, constants: tuple[Hashable, ...]) -> Tensor:
        """Calls the function on the stream that records later, so that its first-use allocations belong to it."""
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            output = self.function(inputs, *constants)
        torch.cuda.current_stream().wait_stream(self._stream)
        return output

    def _record(self, inputs: Tensor, constants: tuple[Hashable, ...]) -> _Graph:
        """Records the function without computing anything. All graphs share one memory pool."""
        graph = torch.cuda.CUDAGraph()
        pool = next(iter(self._graphs.values())).graph.pool() if self._graphs else None
        capture = torch.cuda.graph(graph, pool=pool, stream=self._stream, capture_error_mode="thread_local")
        with _recording, capture:
            output = self.function(inputs, *constants)
        return _Graph(graph, inputs, output)
