"""LoRA: low-rank matrices train beside a network's linear layers (Hu et al. 2021, W + alpha / rank · B A).

    adapters = LoraAdapters(network, Lora(rank=8))
    network.load_state_dict(adapters.initial_state(plain, seed=0))   # from a model's plain weights
    plain = adapters.merge(network.state_dict())                     # and back, with LoRA's matrices added in

Plain weights have the names and shapes of the model without LoRA, so a published bot loads like any other.
"""

import math
import warnings
from typing import Any

import torch
from torch import nn

from pipeline.core.errors import UserError
from pipeline.core.settings import Lora

State = dict[str, torch.Tensor]
_ADAPTER = "default"  # peft's name for the only one


class LoraAdapters:
    """LoRA's matrices in a network. The network's own weights no longer train."""

    def __init__(self, network: Any, lora: Lora):
        """Puts the matrices into the network. Raises UserError if it has none of the target layers."""
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
                warnings.simplefilter("ignore")  # about GPT-2's transposed layers, which peft handles
                inject_adapter_in_model(config, network)
        except ValueError as error:
            raise UserError(f"train.lora.targets: {' '.join(str(error).split())[:200]}") from None
        self.layers: dict[str, Any] = {n: m for n, m in network.named_modules() if isinstance(m, LoraLayer)}
        self.shapes = {
            f"{layer}.{matrix}.{_ADAPTER}.weight": getattr(module, matrix)[_ADAPTER].weight.shape
            for layer, module in self.layers.items()
            for matrix in ("lora_A", "lora_B")
        }

    def initial_state(self, plain: State, seed: int) -> State:
        """The network's state before training: plain weights, A random and B zero, so that B A changes nothing yet."""
        random = torch.Generator().manual_seed(seed)
        state = {self._wrapped_name(name): tensor for name, tensor in plain.items()}
        for name, shape in self.shapes.items():
            state[name] = torch.zeros(shape)
            if ".lora_A." in name:
                nn.init.kaiming_uniform_(state[name], a=math.sqrt(5), generator=random)
        return state

    def _wrapped_name(self, name: str) -> str:
        """A plain weight's name in the network, where peft wraps the layer."""
        layer, _, weight = name.rpartition(".")
        return f"{layer}.base_layer.{weight}" if layer in self.layers else name

    def merge(self, state: State) -> State:
        """Plain weights from the network's state, with B A added in."""
        plain = {name.replace(".base_layer.", "."): state[name] for name in state if name not in self.shapes}
        for layer, module in self.layers.items():
            plain[f"{layer}.weight"] = plain[f"{layer}.weight"] + module.get_delta_weight(_ADAPTER).detach()
        return plain
