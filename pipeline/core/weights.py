"""Weights of models: in memory as a state dict, on disk as a safetensors file.

weights = snapshot(network.state_dict(), "float16")
path.write_bytes(safetensors_bytes(weights))
load_weights(network, path)                     # back into a model of the same shapes, in place
"""

from pathlib import Path

import torch
from safetensors.torch import load_file, save
from torch import nn


def load_weights(network: nn.Module, path: Path) -> None:
    """Copies the weights in a safetensors file into a model of the same shapes, in place; the model keeps its dtype.

    Raises ValueError naming the file if they are another model's.
    """
    try:
        load_state(network, load_file(path))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def load_state(network: nn.Module, state: dict[str, torch.Tensor]) -> None:
    """Copies weights into a model, in place; of tied weights one is enough. Raises ValueError if they do not fit."""
    missing, unexpected = network.load_state_dict(state, strict=False)
    tied = set(getattr(network, "_tied_weights_keys", None) or ())
    if unexpected or set(missing) - tied:
        raise ValueError(f"weights of another model: {(unexpected + missing)[0]} does not fit")


def snapshot(state: dict[str, torch.Tensor], dtype: str) -> dict[str, torch.Tensor]:
    """Returns a copy of a state dict with floating-point weights in `dtype` ("float16", …); of tied weights one."""
    seen: set[int] = set()
    kept = {}
    for name in sorted(state, key=lambda name: (name.startswith("lm_head"), name)):
        tensor = state[name]
        if tensor.data_ptr() in seen:
            continue
        seen.add(tensor.data_ptr())
        to = getattr(torch, dtype) if tensor.is_floating_point() else tensor.dtype
        kept[name] = tensor.detach().to(to, copy=True)
    return kept


def safetensors_bytes(weights: dict[str, torch.Tensor]) -> bytes:
    """Returns weights as the content of a safetensors file."""
    return save({name: tensor.cpu().contiguous() for name, tensor in weights.items()}, metadata={"format": "pt"})


def weight_bytes(state: dict[str, torch.Tensor], dtype: str) -> bytes:
    """Returns a state dict as the content of a safetensors file: `safetensors_bytes(snapshot(state, dtype))`."""
    return safetensors_bytes(snapshot(state, dtype))
