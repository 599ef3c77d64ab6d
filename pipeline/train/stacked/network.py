"""GPT-2 with other weights for each bot of a stack: every weight is [slots, ...], every product a batched one.

    shape = StackedShape.of(model.config)
    losses = stacked_losses(weights, blocks, shape, keys)       # [slots], with gradients for each slot's own weights

The names of the weights are transformers'. No slot's numbers enter another slot's.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.core.errors import UserError
from pipeline.train.stacked.dropout import DropoutKeys, dropout

_PLACES = 3  # of dropout in a layer: attention, its projection, the MLP's


@dataclass(frozen=True)
class StackedShape:
    """What the forward pass needs of GPT-2's config."""

    layers: int
    heads: int
    epsilon: float  # of LayerNorm
    scale_attention: bool
    scale_by_layer: bool
    embedding_dropout: float
    attention_dropout: float
    residual_dropout: float

    @classmethod
    def of(cls, config: Any) -> "StackedShape":
        """The shape of a transformers config. Raises UserError for another model than GPT-2 with tied embeddings."""
        tied, gelu = getattr(config, "tie_word_embeddings", False), getattr(config, "activation_function", "")
        if config.model_type != "gpt2" or not tied or gelu != "gelu_new" or config.add_cross_attention:
            raise UserError("several bots in a step: only GPT-2 with tied embeddings and gelu_new can be stacked")
        return cls(
            layers=config.n_layer,
            heads=config.n_head,
            epsilon=config.layer_norm_epsilon,
            scale_attention=config.scale_attn_weights,
            scale_by_layer=config.scale_attn_by_inverse_layer_idx,
            embedding_dropout=config.embd_pdrop,
            attention_dropout=config.attn_pdrop,
            residual_dropout=config.resid_pdrop,
        )


def stacked_losses(weights: dict[str, Tensor], blocks: Tensor, shape: StackedShape, keys: DropoutKeys) -> Tensor:
    """The mean loss of each slot's next tokens, float32 [slots], in nats; blocks: int64 [slots, batch, block]."""
    slots, batch, block = blocks.shape
    words = weights["transformer.wte.weight"]
    slot = torch.arange(slots, device=blocks.device)[:, None, None]
    x = words[slot, blocks] + weights["transformer.wpe.weight"][:, None, :block]
    x = dropout(x, shape.embedding_dropout, keys, place=0).flatten(1, 2)
    for layer in range(shape.layers):
        own = {name: weights[f"transformer.h.{layer}.{name}"] for name in LAYER_WEIGHTS}
        x = _layer(x, own, layer, block, shape, keys)
    x = _norm(x, weights["transformer.ln_f.weight"], weights["transformer.ln_f.bias"], shape.epsilon)
    logits = torch.bmm(x, words.transpose(1, 2)).view(slots, batch, block, -1)[:, :, :-1]
    losses = nn.functional.cross_entropy(logits.flatten(0, 2).float(), blocks[:, :, 1:].flatten(), reduction="none")
    return losses.view(slots, -1).mean(1)


LAYER_WEIGHTS = tuple(
    f"{module}.{kind}"
    for module in ("ln_1", "attn.c_attn", "attn.c_proj", "ln_2", "mlp.c_fc", "mlp.c_proj")
    for kind in ("weight", "bias")
)


def _layer(x: Tensor, own: dict[str, Tensor], layer: int, block: int, shape: StackedShape, keys: DropoutKeys) -> Tensor:
    """One of GPT-2's layers: x [slots, tokens, width], of blocks that follow each other."""
    place = 1 + _PLACES * layer
    y = _norm(x, own["ln_1.weight"], own["ln_1.bias"], shape.epsilon)
    y = _linear(y, own["attn.c_attn.weight"], own["attn.c_attn.bias"])
    y = _attention(y, layer, block, shape, keys, place)
    y = _linear(y, own["attn.c_proj.weight"], own["attn.c_proj.bias"])
    x = x + dropout(y, shape.residual_dropout, keys, place + 1)
    y = _norm(x, own["ln_2.weight"], own["ln_2.bias"], shape.epsilon)
    y = nn.functional.gelu(_linear(y, own["mlp.c_fc.weight"], own["mlp.c_fc.bias"]), approximate="tanh")
    y = _linear(y, own["mlp.c_proj.weight"], own["mlp.c_proj.bias"])
    return x + dropout(y, shape.residual_dropout, keys, place + 2)


def _attention(x: Tensor, layer: int, block: int, shape: StackedShape, keys: DropoutKeys, place: int) -> Tensor:
    """Causal attention inside each block: x [slots, tokens, 3 * width] holds queries, keys and values."""
    slots, tokens, width = x.shape[0], x.shape[1], x.shape[2] // 3
    parts = x.view(slots * tokens // block, block, 3, shape.heads, width // shape.heads)
    query, key, value = parts.permute(2, 0, 3, 1, 4)  # each [slots * batch, heads, block, head size]
    scale = (width // shape.heads) ** -0.5 if shape.scale_attention else 1.0
    scale /= layer + 1 if shape.scale_by_layer else 1
    if shape.attention_dropout == 0:
        y = nn.functional.scaled_dot_product_attention(query, key, value, is_causal=True, scale=scale)
    else:  # SDPA's own dropout draws from one generator for all slots
        future = torch.ones(block, block, dtype=torch.bool, device=x.device).triu(1)
        scores = (query @ key.transpose(-1, -2) * scale).masked_fill(future, -torch.inf).softmax(-1)
        shares = dropout(scores.view(slots, -1, *scores.shape[1:]), shape.attention_dropout, keys, place)
        y = shares.view(scores.shape).to(value.dtype) @ value
    return y.transpose(1, 2).reshape(slots, tokens, width)


def _linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """x [slots, tokens, in] times weight [slots, in, out], plus bias [slots, out]."""
    return torch.baddbmm(bias[:, None], x, weight)


def _norm(x: Tensor, weight: Tensor, bias: Tensor, epsilon: float) -> Tensor:
    """LayerNorm of x [slots, tokens, width] with other weights for each slot."""
    return torch.addcmul(bias[:, None], nn.functional.layer_norm(x, x.shape[-1:], eps=epsilon), weight[:, None])
