"""Weights: how they are stored as safetensors, and loaded into a model."""

import pytest
import torch
from safetensors.torch import load as load_safetensors

from pipeline.core.weights import load_weights, weight_bytes


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_weights_are_stored_in_the_asked_precision_and_counters_as_they_are(dtype):
    state = {"a.weight": torch.tensor([0.5, -1.25]), "steps": torch.tensor([2**40])}
    stored = load_safetensors(weight_bytes(state, dtype))
    assert stored["a.weight"].dtype == getattr(torch, dtype)
    assert stored["a.weight"].tolist() == [0.5, -1.25]
    assert stored["steps"].dtype == torch.int64
    assert stored["steps"].tolist() == [2**40]


def test_half_precision_is_half_the_bytes():
    state = {"a": torch.zeros(10_000)}
    assert len(weight_bytes(state, "float16")) < 0.51 * len(weight_bytes(state, "float32"))


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_tied_weights_are_stored_once_under_the_name_that_transformers_looks_for(dtype):
    shared = torch.ones(3, 2)
    state = {"lm_head.weight": shared, "transformer.wte.weight": shared, "transformer.h.0.weight": torch.ones(2)}
    assert set(load_safetensors(weight_bytes(state, dtype))) == {
        "transformer.wte.weight",
        "transformer.h.0.weight",
    }


def test_weights_that_are_not_contiguous_are_stored_right():
    state = {"a": torch.arange(6.0).reshape(2, 3).T}
    assert load_safetensors(weight_bytes(state, "float32"))["a"].tolist() == [[0, 3], [1, 4], [2, 5]]


def test_the_same_weights_are_the_same_bytes():
    state = {"b": torch.ones(2), "a": torch.zeros(2)}
    assert weight_bytes(state, "float16") == weight_bytes(dict(reversed(state.items())), "float16")


def test_weights_go_into_a_live_model_and_those_of_another_are_refused(tmp_path):
    network = torch.nn.Linear(2, 1)
    path = tmp_path / "model.safetensors"
    path.write_bytes(weight_bytes({"weight": torch.tensor([[1.0, 2.0]]), "bias": torch.tensor([3.0])}, "float16"))
    load_weights(network, path)
    assert (network.weight.tolist(), network.bias.tolist()) == ([[1.0, 2.0]], [3.0])
    assert network.weight.dtype == torch.float32

    path.write_bytes(weight_bytes({"weight": torch.zeros(1, 2)}, "float16"))
    with pytest.raises(ValueError, match="bias does not fit"):
        load_weights(network, path)
    path.write_bytes(weight_bytes({"weight": torch.zeros(1, 2), "extra": torch.zeros(1)}, "float16"))
    with pytest.raises(ValueError, match="extra does not fit"):
        load_weights(network, path)
