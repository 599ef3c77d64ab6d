"""The keys and values of the sequences at work, in one preallocated cache.

The cache grows with the number and length of the sequences, and is freed when none is left. Every sequence owns a row.
A `Span` tells a forward pass which rows it works on and how far it looks back. When a sequence ends, the last row moves
into its place, so the rows in use are always the first ones.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

POSITIONS = 64  # the cache grows by so many
ROWS = 4  # the rows of a step are padded to a multiple of it; see network.py


@dataclass(frozen=True)
class Span:
    """What one forward pass reads and writes, over positions 0 to length - 1.

    A pass over prompts [prompts, length] has a `source`: keys and values of prompt source[i] go to row rows[i].
    A step, one token for each of the first rows, has `at`: row i's token stands at position at[i] and attends to all
    positions up to there.
    """

    rows: Tensor
    length: int
    source: Tensor | None = None
    at: Tensor | None = None

    def mask(self) -> Tensor:
        """True where a token sees a position, [rows or 1, 1, tokens, length]."""
        positions = torch.arange(self.length, device=self.rows.device)
        at = positions[None] if self.at is None else self.at[:, None]
        return (positions <= at[..., None])[:, None]


class KVCache:
    """Keys and values by layer, [rows, positions, heads, dim]; a layer's are made when it first writes."""

    def __init__(self, layers: int):
        self.rows = self.positions = 0
        self.keys: list[Tensor | None] = [None] * layers
        self.values: list[Tensor | None] = [None] * layers

    @property
    def bytes(self) -> int:
        """The memory that it takes now."""
        return sum(tensor.nbytes for tensor in (*self.keys, *self.values) if tensor is not None)

    def reserve(self, rows: int, positions: int) -> bool:
        """Makes room for this many rows (doubling) and positions, and keeps what is in the cache.

        Returns whether the cache moved to other memory for it.
        """
        if rows <= self.rows and positions <= self.positions:
            return False
        while self.rows < rows:
            self.rows = max(rows, 2 * self.rows)
        self.positions = max(self.positions, -(-positions // POSITIONS) * POSITIONS)
        for kept in (self.keys, self.values):
            for layer, old in enumerate(kept):
                if old is not None:
                    kept[layer] = new = self._room(old)
                    new[: old.shape[0], : old.shape[1]] = old
        return True

    def release(self) -> None:
        """Forgets everything and gives the memory back."""
        self.__init__(len(self.keys))  # type: ignore[misc]

    def write(self, layer: int, keys: Tensor, values: Tensor, span: Span) -> tuple[Tensor, Tensor]:
        """Writes a layer's new keys and values, [n, length, heads, dim]; returns those that the pass attends to."""
        old_keys, old_values = self.keys[layer], self.values[layer]
        if old_keys is None or old_values is None:
            self.keys[layer] = old_keys = self._room(keys)
            self.values[layer] = old_values = self._room(values)
        if span.at is None:
            old_keys[span.rows, : span.length] = keys[span.source]
            old_values[span.rows, : span.length] = values[span.source]
            return keys, values
        old_keys[span.rows, span.at] = keys[:, 0]
        old_values[span.rows, span.at] = values[:, 0]
        count = len(span.rows)
        return old_keys[:count, : span.length], old_values[:count, : span.length]

    def move(self, source: int, target: int, length: int) -> None:
        """Copies the first `length` positions of row `source` over those of row `target`."""
        for tensor in (*self.keys, *self.values):
            if tensor is not None:
                tensor[target, :length] = tensor[source, :length]

    def _room(self, like: Tensor) -> Tensor:
        # zeros: positions beyond a row's end have an attention weight of zero, and zero times NaN would be NaN
        return like.new_zeros(self.rows, self.positions, *like.shape[2:])
