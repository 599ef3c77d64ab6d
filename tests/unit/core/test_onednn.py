"""Linear layers that multiply by oneDNN: what autograd makes of PyTorch's own products."""

import copy

import pytest
import torch
from transformers.pytorch_utils import Conv1D

from pipeline.core import onednn


def gradients(layer: torch.nn.Module, x: torch.Tensor) -> list[torch.Tensor | None]:
    x = x.clone().requires_grad_()
    y = layer(x)
    (y * torch.linspace(-1, 1, y.numel()).reshape(y.shape)).sum().backward()
    return [y.detach(), x.grad, *(parameter.grad for parameter in layer.parameters())]


@pytest.mark.parametrize("layer", [torch.nn.Linear(24, 40), torch.nn.Linear(24, 40, bias=False), Conv1D(40, 24)])
@pytest.mark.parametrize("shape", [(24,), (1, 24), (3, 7, 24)])
def test_products_and_gradients_are_pytorchs(layer, shape):
    torch.manual_seed(0)
    x, ours = torch.randn(shape), copy.deepcopy(layer)
    onednn.use(ours)
    for one, other in zip(gradients(ours, x), gradients(copy.deepcopy(layer), x), strict=True):
        torch.testing.assert_close(one, other)


def test_what_does_not_train_gets_no_gradient():
    layer = torch.nn.Linear(24, 40).requires_grad_(False)
    onednn.use(layer)
    assert [one is None for one in gradients(layer, torch.randn(5, 24))] == [False, False, True, True]


def test_without_gradients_it_is_a_layer_like_any_other():
    layer = Conv1D(40, 24)
    onednn.use(layer)
    with torch.no_grad():
        assert not layer(torch.randn(5, 24)).requires_grad
