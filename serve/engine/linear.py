"""Linear layers, with weights in the layout that is fastest on their processor.

    layer = linear(weight, bias, int8=False)
    layer(x), layer.gelu(x), layer.plus(x, residual)

On a CPU, oneDNN multiplies packed weights two to three times as fast as a plain matrix product does at the few
rows of a decoding step. It sums each row in the same order however many rows there are, so a result does not depend
on the batch.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.core import onednn


def linear(weight: Tensor, bias: Tensor | None, int8: bool) -> "Linear":
    """A layer of weights [out, in]. `int8` stores them in 8 bits, on a CPU with oneDNN; elsewhere it has no effect."""
    if weight.device.type != "cpu" or weight.dtype != torch.float32 or not onednn.AVAILABLE:
        return Linear(weight, bias)
    return Int8(weight, bias) if int8 else Packed(weight, bias)


class Linear:
    """x [rows, in] to [rows, out], by weights [out, in]."""

    def __init__(self, weight: Tensor, bias: Tensor | None):
        self.bytes = weight.nbytes + (0 if bias is None else bias.nbytes)
        self.weight, self.bias = weight.contiguous(), bias

    def __call__(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight, self.bias)

    def gelu(self, x: Tensor) -> Tensor:
        """GELU of the result, by its tanh approximation."""
        return F.gelu(self(x), approximate="tanh")

    def plus(self, x: Tensor, residual: Tensor) -> Tensor:
        """The result plus the residual [rows, out]."""
        return self(x) + residual


class Packed(Linear):
    """float32 in oneDNN's own layout; GELU and the residual are computed in the same pass."""

    def __init__(self, weight: Tensor, bias: Tensor | None):
        super().__init__(weight, bias)
        self.weight = onednn.pack(self.weight)

    def __call__(self, x: Tensor) -> Tensor:
        return onednn.linear(x, self.weight, self.bias)

    def gelu(self, x: Tensor) -> Tensor:
        return onednn.linear_gelu(x, self.weight, self.bias)

    def plus(self, x: Tensor, residual: Tensor) -> Tensor:
        return onednn.linear_add(x, residual, self.weight, self.bias)


class Int8(Linear):
    """Weights in 8 bits with a scale for each output; inputs too, with a scale for each row.

    A scale for the whole input, as in PyTorch's dynamic quantisation, would make a row's result depend on its
    neighbours. The sums are of whole numbers, so their order does not matter.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None):
        out = weight.shape[0]
        self.scale = (weight.abs().amax(1) / 127).clamp(min=1e-12)
        whole = (weight / self.scale[:, None]).round().to(torch.int8).contiguous()
        self.added = weight.new_zeros(out) if bias is None else bias
        self.bytes = whole.nbytes + self.scale.nbytes + self.added.nbytes
        self.weight = onednn.pack_int8(whole)
        self.zero_points = torch.zeros(out, dtype=torch.int32)

    def __call__(self, x: Tensor) -> Tensor:
        scale = (x.abs().amax(1, keepdim=True) / 127).clamp_(min=1e-12)
        whole = (x / scale).round_().add_(128).to(torch.uint8)
        return onednn.linear_int8(whole, 128, self.weight, self.scale, self.zero_points) * scale + self.added
