"""oneDNN's products and gradients, against the same arithmetic in float64 that uses no layer and no autograd."""

import os

import pytest
import torch
from torch import Tensor
from transformers.pytorch_utils import Conv1D

from pipeline.core import onednn

LAYERS = {
    "linear": lambda: torch.nn.Linear(24, 40),
    "linear without bias": lambda: torch.nn.Linear(24, 40, bias=False),
    "conv1d": lambda: Conv1D(40, 24),
}


@pytest.fixture(autouse=True)
def _onednn() -> None:
    """Without oneDNN the layers stay PyTorch's own, and these tests would compare PyTorch with itself."""
    if not onednn.AVAILABLE:
        assert not os.environ.get("CI"), "this PyTorch was built without oneDNN, and CI must test it"
        pytest.skip("this PyTorch was built without oneDNN")


@pytest.fixture
def products(monkeypatch) -> list[torch.Size]:
    """The shape of each product that oneDNN computes from now on."""
    shapes: list[torch.Size] = []
    multiply = onednn.linear

    def counted(*arguments: Tensor) -> Tensor:
        product = multiply(*arguments)
        shapes.append(product.shape)
        return product

    monkeypatch.setattr(onednn, "linear", counted)
    return shapes


def close(measured: Tensor, reference: Tensor) -> None:
    """Equal up to float32's rounding of sums of some 40 products."""
    torch.testing.assert_close(measured.detach().double(), reference, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS)
@pytest.mark.parametrize("shape", [(24,), (1, 24), (3, 7, 24)])
def test_products_and_gradients_equal_float64_arithmetic(make, shape, products):
    torch.manual_seed(0)
    layer, x = make(), torch.randn(shape, requires_grad=True)
    onednn.patch_linear_layers(layer)
    y = layer(x)
    gradient = torch.linspace(-1, 1, y.numel()).reshape(y.shape)
    (y * gradient).sum().backward()

    rows, outer = x.detach().double().reshape(-1, 24), gradient.double().reshape(-1, 40)
    weight = layer.weight.detach().double()  # [out, in]
    if isinstance(layer, Conv1D):
        weight = weight.t()
    expected = rows @ weight.t()
    if layer.bias is not None:
        expected = expected + layer.bias.detach().double()
        close(layer.bias.grad, outer.sum(0))
    close(y, expected.reshape(y.shape))
    close(x.grad, (outer @ weight).reshape(shape))
    weight_gradient = outer.t() @ rows
    close(layer.weight.grad, weight_gradient.t() if isinstance(layer, Conv1D) else weight_gradient)
    assert len(products) == 3  # forward, and the gradients of x and of the weight


def test_frozen_layers_get_no_gradient(products):
    layer = torch.nn.Linear(24, 40).requires_grad_(False)
    onednn.patch_linear_layers(layer)
    x = torch.randn(5, 24, requires_grad=True)
    layer(x).sum().backward()
    assert x.grad is not None and layer.weight.grad is None and layer.bias.grad is None
    assert len(products) == 2


def test_without_gradients_the_result_needs_none(products):
    layer = Conv1D(40, 24)
    onednn.patch_linear_layers(layer)
    with torch.no_grad():
        assert not layer(torch.randn(5, 24)).requires_grad
    assert len(products) == 1


@pytest.mark.parametrize("bias", [torch.randn(40, generator=torch.Generator().manual_seed(1)), None])
def test_packed_products_equal_float64_arithmetic(bias):
    torch.manual_seed(0)
    x, weight, other = torch.randn(8, 24), torch.randn(40, 24), torch.randn(8, 40)
    packed = onednn.pack(weight)
    expected = x.double() @ weight.double().t() + (0 if bias is None else bias.double())
    close(onednn.linear(x, packed, bias), expected)
    close(onednn.linear_add(x, other, packed, bias), expected + other.double())
    inner = (2 / torch.pi) ** 0.5 * (expected + 0.044715 * expected**3)
    close(onednn.linear_gelu(x, packed, bias), 0.5 * expected * (1 + torch.tanh(inner)))


def test_int8_products_are_exact_sums_of_whole_numbers():
    torch.manual_seed(0)
    x = torch.randint(0, 256, (8, 24), dtype=torch.uint8)
    weight = torch.randint(-127, 128, (40, 24), dtype=torch.int8)
    scales = torch.rand(40) + 0.5
    zero_points = torch.zeros(40, dtype=torch.int32)
    product = onednn.linear_int8(x, 128, onednn.pack_int8(weight), scales, zero_points)
    close(product / scales, (x.double() - 128) @ weight.double().t())
