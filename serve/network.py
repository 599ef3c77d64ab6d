"""Forward passes over the cache: GPT-2's written out here, transformers' for every other causal language model.

    network = load_network(folder, device, dtype)
    logits = network(tokens, positions, last, span, cache)     # [n, vocabulary]

At the sizes of a bot most of transformers' time for one token goes into Python around the arithmetic (masks, cache
classes, hooks); GPT-2's own pass leaves that out. It needs neither transformers nor its imports.

A row's result must not depend on what else is in a pass. A matrix product has that property, bit for bit, where
it has at least ROWS rows (below, other kernels run, that add up in another order), and attention where it looks
back over a multiple of LOOK_BACK positions; the engine pads to these. `tests/serve/test_network.py` holds both.
"""

import json
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline import model
from serve.kv import KVCache, Span

ROWS = 4
LOOK_BACK = 16


class Network(Protocol):
    """A causal language model; `positions` is how many tokens it can look at, or None."""

    layers: int
    positions: int | None

    @property
    def bytes(self) -> int: ...

    def load(self, path: Path) -> None:
        """Takes over weights of the same shapes from a safetensors file. Raises ValueError where they are not."""

    def __call__(self, tokens: Tensor, positions: Tensor, last: Tensor, span: Span, cache: KVCache) -> Tensor:
        """Logits [n, vocabulary] after the token at last[i] of each row of tokens [n, length]."""


def load_network(folder: Path, device: torch.device, dtype: torch.dtype) -> Network:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    weights = folder / model.WEIGHTS
    if GPT2.fits(config) and weights.is_file():
        return GPT2(config, weights, device, dtype)
    from serve.anymodel import AnyModel

    return AnyModel(folder, device, dtype)


class GPT2:
    """GPT-2 (Radford et al., 2019) over weights as transformers names and stores them."""

    def __init__(self, config: dict[str, Any], weights: Path, device: torch.device, dtype: torch.dtype):
        self.device, self.dtype = device, dtype
        self.layers, self.heads = config["n_layer"], config["n_head"]
        self.positions = config["n_positions"]
        self.epsilon = config.get("layer_norm_epsilon", 1e-5)
        self._take(self._read(weights))

    @staticmethod
    def fits(config: dict[str, Any]) -> bool:
        usual = {
            "activation_function": "gelu_new",
            "scale_attn_weights": True,
            "scale_attn_by_inverse_layer_idx": False,
            "add_cross_attention": False,
        }
        return config.get("model_type") == "gpt2" and all(config.get(key, usual[key]) == usual[key] for key in usual)

    @property
    def bytes(self) -> int:
        return sum(tensor.nbytes for tensor in self.weights.values())

    def load(self, path: Path) -> None:
        new = self._read(path)
        for name in sorted(self.weights.keys() ^ new.keys()):
            raise ValueError(f"{path}: weights of another model: {name} does not fit")
        for name, tensor in new.items():
            if tensor.shape != self.weights[name].shape:
                raise ValueError(f"{path}: weights of another model: {name} has the shape {list(tensor.shape)}")
        self._take(new)

    def _read(self, path: Path) -> dict[str, Tensor]:
        """A file's weights in our type; the file is mapped, so its bytes are read once."""
        from safetensors.torch import load_file

        weights = {}
        for name, tensor in load_file(path).items():
            if not name.endswith((".attn.bias", ".attn.masked_bias")):  # masks that older versions stored
                weights[name.removeprefix("transformer.")] = tensor.to(self.device, self.dtype, copy=True)
        if "lm_head.weight" in weights and torch.equal(weights["lm_head.weight"], weights["wte.weight"]):
            del weights["lm_head.weight"]
        return weights

    def _take(self, weights: dict[str, Tensor]) -> None:
        self.weights = weights
        names = [f"{part}.{kind}" for part in _PARTS for kind in ("weight", "bias")]
        try:
            self._blocks = [[weights[f"h.{layer}.{name}"] for name in names] for layer in range(self.layers)]
            self._norm = weights["ln_f.weight"], weights["ln_f.bias"]
            self._tokens, self._positions = weights["wte.weight"], weights["wpe.weight"]
        except KeyError as error:
            raise ValueError(f"not the weights of this GPT-2: {error.args[0]} is missing") from None
        self._head = weights.get("lm_head.weight", self._tokens)

    def __call__(self, tokens: Tensor, positions: Tensor, last: Tensor, span: Span, cache: KVCache) -> Tensor:
        count, length = tokens.shape
        x = (self._tokens[tokens] + self._positions[positions]).flatten(0, 1)  # [n·length, width]
        width = (x.shape[1],)
        mask = None if span.at is None else span.mask()
        for layer, weights in enumerate(self._blocks):
            norm_w, norm_b, qkv_w, qkv_b, out_w, out_b, norm2_w, norm2_b, up_w, up_b, down_w, down_b = weights
            qkv = torch.addmm(qkv_b, F.layer_norm(x, width, norm_w, norm_b, self.epsilon), qkv_w)
            q, k, v = qkv.view(count, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
            k, v = cache.write(layer, k, v, span)
            mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None)
            x = x + torch.addmm(out_b, mixed.transpose(1, 2).reshape(count * length, -1), out_w)
            up = torch.addmm(up_b, F.layer_norm(x, width, norm2_w, norm2_b, self.epsilon), up_w)
            x = x + torch.addmm(down_b, F.gelu(up, approximate="tanh"), down_w)
        if length > 1:
            x = x.view(count, length, -1)[torch.arange(count, device=x.device), last]
            if count < ROWS:
                x = F.pad(x, (0, 0, 0, ROWS - count))
        return F.linear(F.layer_norm(x, width, *self._norm, self.epsilon), self._head)[:count]


_PARTS = ("ln_1", "attn.c_attn", "attn.c_proj", "ln_2", "mlp.c_fc", "mlp.c_proj")
