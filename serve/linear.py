"""Linear layers, their weights laid out once for the processor that multiplies by them.

On a CPU, oneDNN multiplies packed float32 weights two to three times as fast as a plain matrix product does at
the few rows of a decoding step, and adds up each row alike whatever the number of rows.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

_PACKS = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


class Linear:
    """x [rows, in] to [rows, out], by weights [out, in]."""

    def __init__(self, weight: Tensor, bias: Tensor | None):
        self.bytes = weight.nbytes + (0 if bias is None else bias.nbytes)
        self.packed = _PACKS and weight.device.type == "cpu" and weight.dtype == torch.float32
        self.weight = torch.ops.mkldnn._reorder_linear_weight(weight) if self.packed else weight.contiguous()
        self.bias = bias

    def __call__(self, x: Tensor) -> Tensor:
        if self.packed:
            return torch.ops.mkldnn._linear_pointwise(x, self.weight, self.bias, "none", [], "")
        return F.linear(x, self.weight, self.bias)

    def gelu(self, x: Tensor) -> Tensor:
        """GELU of the result, by its tanh approximation."""
        if self.packed:
            return torch.ops.mkldnn._linear_pointwise(x, self.weight, self.bias, "gelu", [], "tanh")
        return F.gelu(F.linear(x, self.weight, self.bias), approximate="tanh")

    def plus(self, x: Tensor, rest: Tensor) -> Tensor:
        """The result, added to what went past it."""
        if self.packed:
            return torch.ops.mkldnn._linear_pointwise.binary(x, rest, self.weight, self.bias, "add")
        return rest + F.linear(x, self.weight, self.bias)
