"""Matrix products by oneDNN, forward and back, for networks that train in fp32 on a CPU.

    use(model)          # the model's linear layers, and GPT-2's, from now on multiply with it

PyTorch gives fp32 products to MKL, which has its widest instructions for Intel's processors alone: elsewhere oneDNN
is twice as fast (AMD EPYC with AVX-512: 250 GFLOP/s a core against 115), and on Intel's as fast.
"""

from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

AVAILABLE = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def use(model: torch.nn.Module) -> None:
    """Sets the linear layers' forward, where PyTorch has oneDNN; their weights stay as they are."""
    from transformers.pytorch_utils import Conv1D

    for module in model.modules() if AVAILABLE else ():
        if type(module) in (torch.nn.Linear, Conv1D):
            module.forward = partial(_forward, module)


def _forward(layer: Any, x: Tensor) -> Tensor:
    weight = layer.weight if isinstance(layer, torch.nn.Linear) else layer.weight.t()  # Conv1D's is [in, out]
    product: Tensor = _Linear.apply(x.reshape(-1, x.shape[-1]), weight, layer.bias)
    return product.reshape(*x.shape[:-1], -1)


class _Linear(torch.autograd.Function):
    """x [rows, in] to [rows, out], by weights [out, in] and a bias [out] or None."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _product(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        of_x, of_weight, of_bias = ctx.needs_input_grad
        return (
            _product(gradient, weight.t()) if of_x else None,
            _outer(x, gradient, weight) if of_weight else None,
            gradient.sum(0) if of_bias else None,
        )


def _outer(x: Tensor, gradient: Tensor, weight: Tensor) -> Tensor:
    """gradient.T @ x, laid out as the weight is."""
    if weight.is_contiguous():
        return _product(gradient.t().contiguous(), x.t().contiguous())
    return _product(x.t(), gradient.t()).t()


def _product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x @ weight.T + bias."""
    product: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return product
