"""What is changed in a model before it trains: faster kernels, and which of its weights train.

freeze_first_layers(model, 2)
use_fast_kernels(model, fp32_on_cpu=True)
attend_without_mask(model)
"""

from functools import partial
from typing import Any

from torch import Tensor, nn

from pipeline.core import onednn
from pipeline.core.errors import UserError

_WITHOUT_MASK = "causal_without_mask"  # our attention function, in transformers' registry


def use_fast_kernels(model: nn.Module, fp32_on_cpu: bool) -> None:
    """Replaces forward passes by faster ones that compute the same up to rounding; weights keep names and shapes."""
    fuse_gelu(model)
    if fp32_on_cpu:
        onednn.patch_linear_layers(model)


def freeze_first_layers(model: nn.Module, layers: int) -> None:
    """Keeps the embeddings and the first `layers` blocks as they are; an output layer that shares weights with the
    embeddings stays, too. Raises UserError if the model has fewer blocks.
    """
    blocks = next((m for m in model.modules() if isinstance(m, nn.ModuleList) and len(m) >= layers), None)
    if blocks is None:
        raise UserError(f"train.freeze_layers: {layers} exceeds the base model's number of blocks")
    embeddings = [module for module in model.modules() if isinstance(module, nn.Embedding)]
    for module in [*embeddings, *blocks[:layers]]:
        module.requires_grad_(False)


def fuse_gelu(model: nn.Module) -> None:
    """Computes GPT-2's GELU in one kernel; transformers writes it out in eight, some of them in fp32."""
    for module in model.modules():
        if type(module).__name__ == "NewGELUActivation":
            module.forward = partial(nn.functional.gelu, approximate="tanh")


def attend_without_mask(model: nn.Module) -> None:
    """Tells SDPA that GPT-2's attention is causal, instead of giving it a mask; other models stay as they are.

    Outside of graphs transformers does the same. While a step is recorded or compiled it writes the mask out, and SDPA
    then takes a slower kernel that rounds differently. Blocks need no other mask, since a tweet sees those before it in
    its block; a mask that is given to the changed model has no effect.
    """
    from transformers import AttentionInterface

    if getattr(model.config, "model_type", None) == "gpt2":
        # for an attention function that is registered here, and not as a mask, transformers makes no mask
        AttentionInterface.register(_WITHOUT_MASK, _causal_attention)
        model.set_attn_implementation(_WITHOUT_MASK)  # type: ignore[operator]


def _causal_attention(
    layer: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **unused: Any,
) -> tuple[Tensor, None]:
    """Attention of [batch, heads, tokens, head size] over the same tokens, as [batch, tokens, heads, head size]."""
    attended = nn.functional.scaled_dot_product_attention(
        query, key, value, dropout_p=dropout, scale=scaling, is_causal=query.shape[2] > 1
    )
    return attended.transpose(1, 2).contiguous(), None
