"""oneDNN's matrix products, for networks that compute in fp32 on a CPU.

    patch_linear_layers(model)          # from now on the model's linear layers multiply with oneDNN

PyTorch gives fp32 products to MKL, which uses its widest instructions on Intel processors only. On others oneDNN is
twice as fast (AMD EPYC with AVX-512: 250 GFLOP/s per core against 115), and on Intel as fast.

PyTorch offers these products only as private operators of its compiler, under `torch.ops.mkldnn` and
`torch.ops.onednn`. This module is the only one that calls them; pyproject.toml bounds torch's version for its sake.
"""

from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

AVAILABLE = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def patch_linear_layers(model: torch.nn.Module) -> None:
    """Makes `torch.nn.Linear` and GPT-2's Conv1D layers multiply with oneDNN, forward and backward.

    The weights stay as they are. Does nothing where PyTorch was built without oneDNN.
    """
    from transformers.pytorch_utils import Conv1D

    for module in model.modules() if AVAILABLE else ():
        if type(module) in (torch.nn.Linear, Conv1D):
            module.forward = partial(_forward, module)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x @ weight.T + bias: x [rows, in], weight [out, in], plain or packed by `pack`, bias [out]; [rows, out]."""
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")


def linear_gelu(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """GELU (tanh approximation) of `linear`, in the same pass."""
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "gelu", [], "tanh")


def linear_add(x: Tensor, other: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`linear` plus `other` [rows, out], in the same pass."""
    return torch.ops.mkldnn._linear_pointwise.binary(x, other, weight, bias, "add")


def pack(weight: Tensor) -> Tensor:
    """A weight [out, in] in oneDNN's own layout, for `linear`, `linear_gelu` and `linear_add`; it has no gradient."""
    return torch.ops.mkldnn._reorder_linear_weight(weight)


def pack_int8(weight: Tensor) -> Tensor:
    """An int8 weight [out, in] in oneDNN's own layout, for `linear_int8`."""
    return torch.ops.onednn.qlinear_prepack(weight, None)


def linear_int8(x: Tensor, zero_point: int, packed: Tensor, scales: Tensor, zero_points: Tensor) -> Tensor:
    """(x - zero_point) @ (weight * scales).T as float32 [rows, out].

    x: uint8 [rows, in]; packed: an int8 weight [out, in] from `pack_int8`, with `scales` (float32) and
    `zero_points` (int32) [out].
    """
    weight = packed, scales, zero_points
    return torch.ops.onednn.qlinear_pointwise(x, 1.0, zero_point, *weight, None, 1.0, 0, torch.float32, "none", [], "")


def _forward(layer: Any, x: Tensor) -> Tensor:
    weight = layer.weight if isinstance(layer, torch.nn.Linear) else layer.weight.t()  # Conv1D's is [in, out]
    product: Tensor = _Linear.apply(x.reshape(-1, x.shape[-1]), weight, layer.bias)
    return product.reshape(*x.shape[:-1], -1)


class _Linear(torch.autograd.Function):
    """`linear` with gradients."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return linear(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        x_needs, weight_needs, bias_needs = ctx.needs_input_grad
        return (
            linear(gradient, weight.t()) if x_needs else None,
            _weight_gradient(x, gradient, weight) if weight_needs else None,
            gradient.sum(0) if bias_needs else None,
        )


def _weight_gradient(x: Tensor, gradient: Tensor, weight: Tensor) -> Tensor:
    """gradient.T @ x, in the memory layout of the weight."""
    if weight.is_contiguous():
        return linear(gradient.t().contiguous(), x.t().contiguous())
    return linear(x.t(), gradient.t()).t()
