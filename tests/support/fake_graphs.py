"""CUDA graphs without a GPU: what was computed while a graph was recorded is computed again when it is replayed.

    graphs = fake_graphs.install(monkeypatch, lambda: [*network.parameters()])

Like the real ones, a replay works on the tensors of the recording and does nothing of Python's part again. On a GPU
a recording computes nothing: here it does, so the tensors that it changes are named and get their values back.
"""

from collections.abc import Callable
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map


class _Recorder(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, Any, Any, Any]] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function is torch.ops.aten._local_scalar_dense.default:
            raise RuntimeError("a graph that is being recorded cannot be asked for a number")
        out = function(*args, **(kwargs or {}))
        self.calls.append((function, *tree_map(_bare, (args, kwargs or {}, out))))
        return out


def _bare(value: Any) -> Any:
    """A tensor's memory without what autograd knows of it."""
    return value.detach() if isinstance(value, torch.Tensor) else value


class _Graph:
    def __init__(self) -> None:
        self.recorder = _Recorder()
        self.replays = 0

    def pool(self) -> None:
        return None

    def replay(self) -> None:
        self.replays += 1
        for function, args, kwargs, out in self.recorder.calls:
            again = function(*args, **kwargs)
            for old, new in zip(tree_leaves(out), tree_leaves(again), strict=True):
                if isinstance(old, torch.Tensor) and old.data_ptr() != new.data_ptr():
                    old.copy_(new)


def install(monkeypatch: Any, changed: Callable[[], list[torch.Tensor]] = list) -> list[_Graph]:
    """Takes the place of torch.cuda's; the list fills with the graphs that are made."""
    made: list[_Graph] = []
    capturing: list[_Graph] = []

    def new() -> _Graph:
        made.append(_Graph())
        return made[-1]

    class Recording:
        def __init__(self, graph: _Graph, **options: Any) -> None:
            self.graph = graph

        def __enter__(self) -> None:
            self.before = [(tensor, tensor.detach().clone()) for tensor in changed()]
            capturing.append(self.graph)
            self.graph.recorder.__enter__()

        def __exit__(self, *error: Any) -> None:
            self.graph.recorder.__exit__(*error)
            capturing.clear()
            for tensor, value in self.before:
                tensor.data.copy_(value)

    stream = SimpleNamespace(wait_stream=lambda other: None)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", new)
    monkeypatch.setattr(torch.cuda, "graph", Recording)
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: bool(capturing))
    monkeypatch.setattr(torch.cuda, "Stream", lambda: stream)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: stream)
    monkeypatch.setattr(torch.cuda, "stream", lambda chosen: nullcontext())
    return made
