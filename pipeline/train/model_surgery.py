"""What is changed in a model before it trains: faster kernels, and which of its weights train.

freeze_first_layers(model, 2)
use_fast_kernels(model, fp32_on_cpu=True)
"""

from functools import partial

from torch import nn

from pipeline.core import onednn
from pipeline.core.errors import UserError


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
