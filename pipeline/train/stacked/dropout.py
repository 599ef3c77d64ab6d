"""Dropout whose numbers depend on a bot's seed, its step and the place in the network, and on nothing else.

    keys = DropoutKeys(seeds=torch.tensor([1, 2]), steps=torch.tensor([0, 7]))
    kept = dropout(torch.ones(2, 64, 32), 0.1, keys, place=3)

PyTorch draws the numbers of all bots of a stack from one generator, so that a bot's numbers would depend on its
neighbours and its slot. Here each number is a hash of its position, which has the same bits on every device.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class DropoutKeys:
    """What the random numbers of each slot depend on."""

    seeds: Tensor  # int64 [slots]
    steps: Tensor  # int64 [slots]: steps done


def dropout(x: Tensor, share: float, keys: DropoutKeys, place: int) -> Tensor:
    """Sets a random `share` of x [slots, ...] to zero, and scales the rest up; `place` is another one for each call."""
    if share == 0:
        return x
    step = _hash(_hash(keys.seeds.to(torch.int32)) ^ keys.steps.to(torch.int32))
    first, second = (_hash(step ^ (2 * place + i))[:, None] for i in range(2))
    count = torch.arange(x[0].numel(), dtype=torch.int32, device=x.device)
    # two keys: with one alone, the numbers of two steps would be the same ones in another order
    bits = _hash(_hash(count ^ first) ^ second)
    kept = _shift_right(bits, 8) >= int(share * 2**24)
    return torch.where(kept.view(x.shape), x / (1 - share), 0.0)


def _hash(x: Tensor) -> Tensor:
    """Chris Wellons' lowbias32 of each number, int32: a bijection in which every bit depends on every other one."""
    x = (x ^ _shift_right(x, 16)) * 0x7FEB352D
    x = (x ^ _shift_right(x, 15)) * (0x846CA68B - 2**32)
    return x ^ _shift_right(x, 16)


def _shift_right(x: Tensor, bits: int) -> Tensor:
    """The shift of unsigned numbers, on int32."""
    return (x >> bits) & (2 ** (32 - bits) - 1)
