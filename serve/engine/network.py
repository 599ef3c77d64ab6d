"""Forward passes over the cache: GPT-2's is written out here, every other causal language model's is transformers'.

    network = load_network(folder, device, torch.float32)
    logits = network(tokens, positions, last, span, cache)     # [n, vocabulary]

At the sizes of a bot most of transformers' time for one token goes into Python around the arithmetic (masks, cache
classes, hooks); GPT-2's own pass leaves that out. It needs neither transformers nor its imports.

A row's result must not depend on what else is in a pass. A matrix product computes the same bits for a row whatever the
number of rows, as long as this is a multiple of ROWS; otherwise other kernels run, which sum in another order. For
attention the number of positions must be a multiple of LOOK_BACK. So the engine pads its inputs to these multiples.
tests/unit/engine/test_network.py tests both.
"""

import json
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.core import model_folder
from pipeline.core.json_file import JsonObject
from serve.engine.kv import ROWS, KVCache, Span
from serve.engine.linear import linear

LOOK_BACK = 16


class Network(Protocol):
    """A causal language model with `tokens` in its vocabulary and a context of `positions` (None: no limit).

    `recordable` says whether a pass can be recorded as a CUDA graph: the shapes of its input alone decide what it does.
    """

    layers: int
    tokens: int
    positions: int | None
    recordable: bool

    @property
    def bytes(self) -> int:
        """The memory that the weights take."""

    def load(self, path: Path) -> None:
        """Loads weights of the same shapes from a safetensors file. Raises ValueError if they are not."""

    def __call__(self, tokens: Tensor, positions: Tensor, last: Tensor, span: Span, cache: KVCache) -> Tensor:
        """Logits [n, vocabulary] after the token at last[i] of each row of tokens [n, length]."""


def decode(network: Network, inputs: Tensor, length: int, cache: KVCache) -> Tensor:
    """A step: logits [rows, vocabulary] after one token for each of the cache's first rows.

    `inputs` [2, rows]: the tokens, and the position each stands at; `length`: how far the pass looks back.
    """
    tokens, at = inputs
    span = Span(torch.arange(len(at), device=at.device), length, at=at)
    return network(tokens[:, None], at[:, None], torch.zeros_like(at), span, cache)


def load_network(folder: Path, device: torch.device, dtype: torch.dtype, int8: bool = False) -> Network:
    """The folder's model; `int8` stores and multiplies GPT-2's matrices in 8 bits on a CPU."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    weights = folder / model_folder.WEIGHTS
    if GPT2.fits(config) and weights.is_file():
        return GPT2(config, weights, device, dtype, int8)
    from serve.engine.anymodel import AnyModel

    return AnyModel(folder, device, dtype)


class GPT2:
    """GPT-2 (Radford et al., 2019) over weights as transformers names and stores them."""

    recordable = True

    def __init__(self, config: JsonObject, weights: Path, device: torch.device, dtype: torch.dtype, int8: bool = False):
        self.device, self.dtype, self.int8 = device, dtype, int8
        self.layers, self.heads = config["n_layer"], config["n_head"]
        self.tokens, self.positions = config["vocab_size"], config["n_positions"]
        self.epsilon = config.get("layer_norm_epsilon", 1e-5)
        self._shapes = _shapes(config)
        self.load(weights)

    @staticmethod
    def fits(config: JsonObject) -> bool:
        """Whether a model of this config.json is a GPT-2 as it is written out here."""
        usual = {
            "activation_function": "gelu_new",
            "scale_attn_weights": True,
            "scale_attn_by_inverse_layer_idx": False,
            "add_cross_attention": False,
        }
        return config.get("model_type") == "gpt2" and all(config.get(key, usual[key]) == usual[key] for key in usual)

    @property
    def bytes(self) -> int:
        """The memory that the weights take."""
        matrices = [layer for block in self._blocks for layer in block.matrices]
        plain = [*self._norm, self._tokens, self._positions, *(norm for block in self._blocks for norm in block.norms)]
        return sum(one.bytes for one in (*matrices, self._head)) + sum(tensor.nbytes for tensor in plain)

    def load(self, path: Path) -> None:
        """Loads the weights of a safetensors file, which is mapped into memory and read once."""
        from safetensors.torch import load_file

        file = load_file(path, device=str(self.device))
        stored = {name.removeprefix("transformer."): tensor for name, tensor in file.items()}
        weights = {}
        for name, shape in self._shapes.items():
            if name not in stored:
                raise ValueError(f"{path}: weights of another model: it has no {name}")
            if list(stored[name].shape) != shape:
                raise ValueError(f"{path}: weights of another model: {name} is {list(stored[name].shape)}, not {shape}")
            weights[name] = stored[name]
        head = stored.get("lm_head.weight", weights["wte.weight"])
        self._blocks = [_Block(weights, f"h.{layer}.", self.dtype, self.int8) for layer in range(self.layers)]
        self._norm = _plain(weights, "ln_f", self.dtype)
        self._tokens, self._positions = weights["wte.weight"].clone(), weights["wpe.weight"].clone()
        self._head = linear(head.to(self.dtype), None, self.int8)

    def __call__(self, tokens: Tensor, positions: Tensor, last: Tensor, span: Span, cache: KVCache) -> Tensor:
        count, length = tokens.shape
        x = (self._tokens[tokens].to(self.dtype) + self._positions[positions].to(self.dtype)).flatten(0, 1)
        width = (x.shape[1],)
        mask = None if span.at is None else span.mask()
        for layer, block in enumerate(self._blocks):
            qkv = block.qkv(F.layer_norm(x, width, *block.norms[:2], self.epsilon))  # [count·length, 3·width]
            q, k, v = qkv.view(count, length, 3, self.heads, -1).unbind(2)
            k, v = cache.write(layer, k, v, span)
            q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
            mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None)
            x = block.out.plus(mixed.transpose(1, 2).reshape(count * length, -1), x)
            x = block.down.plus(block.up.gelu(F.layer_norm(x, width, *block.norms[2:], self.epsilon)), x)
        if length > 1:
            x = x.view(count, length, -1)[torch.arange(count, device=x.device), last]
            x = F.pad(x, (0, 0, 0, -count % ROWS))
        return self._head(F.layer_norm(x, width, *self._norm, self.epsilon))[:count]


class _Block:
    """One layer's weights."""

    def __init__(self, weights: dict[str, Tensor], prefix: str, dtype: torch.dtype, int8: bool):
        names = [prefix + name for name in ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")]
        plain = [_plain(weights, name, dtype) for name in names]
        self.matrices = [linear(weight.t(), bias, int8) for weight, bias in plain]
        self.qkv, self.out, self.up, self.down = self.matrices

        self.norms = *_plain(weights, prefix + "ln_1", dtype), *_plain(weights, prefix + "ln_2", dtype)


def _plain(weights: dict[str, Tensor], name: str, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """A layer's weight and bias, in memory of our own."""
    weight, bias = (weights[f"{name}.{kind}"].to(dtype, copy=True) for kind in ("weight", "bias"))
    return weight, bias


def _shapes(config: JsonObject) -> dict[str, list[int]]:
    """The weights of a GPT-2, as transformers names them; those of linear layers are [in, out]."""
    width = config["n_embd"]
    inner = config.get("n_inner") or 4 * width
    shapes = {"wte.weight": [config["vocab_size"], width], "wpe.weight": [config["n_positions"], width]}
    sizes = {"ln_f": [width]}
    for layer in range(config["n_layer"]):
        sizes |= {f"h.{layer}.ln_1": [width], f"h.{layer}.ln_2": [width]}
        sizes |= {f"h.{layer}.attn.c_attn": [width, 3 * width], f"h.{layer}.attn.c_proj": [width, width]}
        sizes |= {f"h.{layer}.mlp.c_fc": [width, inner], f"h.{layer}.mlp.c_proj": [inner, width]}
    for name, size in sizes.items():
        shapes |= {f"{name}.weight": size, f"{name}.bias": size[-1:]}
    return shapes
