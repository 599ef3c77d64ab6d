"""Which of a network's weights train: all of them, those above its first blocks, or LoRA's beside its own.

    freeze(network, 2)                                    # embeddings and two blocks stay as they are
    adapters = Adapters(network, Lora(rank=8))            # Hu et al. 2021: W + alpha / rank · B A, only A and B train
    network.load_state_dict(adapters.begun(plain, seed))  # a model's plain weights, A and B as at the start
    adapters.merged(network.state_dict())                 # and back: plain weights, LoRA's added in

Plain weights have the names and shapes of the model without any of this: what is published reads like any other.
"""

import math
import warnings
from typing import Any

import torch
from torch import nn

from pipeline.core.errors import UserError
from pipeline.core.settings import Lora

State = dict[str, torch.Tensor]
_NAME = "default"  # peft's, of the only adapter


def freeze(network: Any, layers: int) -> None:
    """Embeddings (and with them an output layer that shares their weights) and the first blocks no longer train.

    Raises UserError where the network has no such blocks, or not so many.
    """
    blocks = next((m for m in network.modules() if isinstance(m, nn.ModuleList) and len(m) >= layers), None)
    if blocks is None:
        raise UserError(f"train.freeze_layers: {layers}, but the base model has not so many blocks")
    embeddings = [module for module in network.modules() if isinstance(module, nn.Embedding)]
    for module in [*embeddings, *blocks[:layers]]:
        module.requires_grad_(False)


class Adapters:
    """LoRA's matrices in a network: what they are beside no longer trains."""

    def __init__(self, network: Any, lora: Lora):
        """Puts them in. Raises UserError where the network has no such layers."""
        from peft import LoraConfig, inject_adapter_in_model
        from peft.tuners.lora import LoraLayer

        config = LoraConfig(
            r=lora.rank,
            lora_alpha=lora.alpha,  # type: ignore[arg-type]
            lora_dropout=lora.dropout,
            target_modules=lora.targets or "all-linear",
        )
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # GPT-2's layers are transposed: peft sees it, and says that it does
                inject_adapter_in_model(config, network)
        except ValueError as error:
            raise UserError(f"train.lora.targets: {' '.join(str(error).split())[:200]}") from None
        self.layers: dict[str, Any] = {n: m for n, m in network.named_modules() if isinstance(m, LoraLayer)}
        self.shapes = {
            f"{layer}.{matrix}.{_NAME}.weight": getattr(module, matrix)[_NAME].weight.shape
            for layer, module in self.layers.items()
            for matrix in ("lora_A", "lora_B")
        }

    def begun(self, plain: State, seed: int) -> State:
        """The network's state from a model's plain weights: A is random, B zero, so that they change nothing yet."""
        random = torch.Generator().manual_seed(seed)
        state = {self._inside(name): tensor for name, tensor in plain.items()}
        for name, shape in self.shapes.items():
            state[name] = torch.zeros(shape)
            if ".lora_A." in name:
                nn.init.kaiming_uniform_(state[name], a=math.sqrt(5), generator=random)
        return state

    def _inside(self, name: str) -> str:
        """The name of a plain weight in the network."""
        layer, _, weight = name.rpartition(".")
        return f"{layer}.base_layer.{weight}" if layer in self.layers else name

    def merged(self, state: State) -> State:
        """Plain weights from the network's state, as it is now."""
        plain = {name.replace(".base_layer.", "."): state[name] for name in state if name not in self.shapes}
        for layer, module in self.layers.items():
            plain[f"{layer}.weight"] = plain[f"{layer}.weight"] + module.get_delta_weight(_NAME).detach()
        return plain
