"""Several bots in one step: each slot of the stack holds the weights, moments, rate and random numbers of one bot.

    trainer = StackedTrainer(model, slots=3)
    for slot in range(3):
        trainer.load(slot, seed=slot)
    losses = trainer.step(blocks, rates=[1e-3, 1e-3, 5e-4])     # blocks: int64 [3, batch, block]; losses: [3]
    weights = trainer.state(slot=1)

Slots are independent: one can be loaded again at any step, and one at rate 0 is idle. The recipe is that of a `Trainer`
with one worker: AdamW without weight decay, each bot's gradient clipped at norm 1. It uses neither DeepSpeed nor LoRA.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pipeline.core.cuda_graph import CudaGraphs
from pipeline.train.stacked.dropout import DropoutKeys
from pipeline.train.stacked.network import StackedShape, stacked_losses
from pipeline.train.trainer import CLIP_NORM

_GRAPH_WARMUP = 2
_TIED = "lm_head.weight"


class StackedTrainer:
    """GPT-2 `slots` times. All weights are in one buffer, a row for each slot, and so are the gradients."""

    def __init__(self, model: nn.Module, slots: int, *, precision: str = "fp32", compile: bool = False):
        """Copies the model's weights; every slot starts with them. `precision` is "fp32" or "bf16".

        Raises UserError if the model is not a GPT-2 that can be stacked.
        """
        self.shape, self.slots, self.precision = StackedShape.of(model.config), slots, precision
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.base = {name: value.detach().to(self.device, copy=True) for name, value in model.named_parameters()}
        size = sum(value.numel() for value in self.base.values())
        self._rows = torch.zeros(slots, size, device=self.device)
        self._gradients = torch.zeros(slots, size, device=self.device)
        self._weights = {name: weight.requires_grad_() for name, weight in self._views().items()}
        self._losses = torch.compile(stacked_losses, dynamic=False) if compile else stacked_losses
        self.keys = DropoutKeys(*(torch.zeros(slots, dtype=torch.int64, device=self.device) for _ in range(2)))
        self.optimizer = self._optimizer()
        for slot in range(slots):
            self.load(slot, seed=0)
        self.graphs = CudaGraphs(self._step, _GRAPH_WARMUP) if self.device.type == "cuda" else None

    def _views(self) -> dict[str, Tensor]:
        """The rows as the weights that they hold, each [slots, ...]."""
        parts = self._rows.split([value.numel() for value in self.base.values()], dim=1)
        named = zip(self.base.items(), parts, strict=True)
        return {name: part.view(self.slots, *value.shape) for (name, value), part in named}

    def _optimizer(self) -> torch.optim.AdamW:
        """AdamW with each row as one parameter, at its own rate and step count: one kernel for each slot."""
        groups = []
        for row, gradient in zip(self._rows, self._gradients, strict=True):
            parameter = nn.Parameter(row)
            parameter.grad = gradient
            groups.append({"params": [parameter], "lr": torch.zeros((), device=self.device)})
        return torch.optim.AdamW(groups, weight_decay=0.0, fused=True, capturable=self.device.type == "cuda")

    def record(self, batch_size: int, block_size: int) -> None:
        """Records the step on blocks of this shape as a CUDA graph. Every bot has to be loaded after it.

        Does nothing without a GPU. A step of another shape is recorded when it has been done three times.
        """
        if self.graphs:
            blocks = torch.zeros(self.slots, batch_size, block_size, dtype=torch.int64)
            for _ in range(_GRAPH_WARMUP + 1):
                self.step(blocks, [0.0] * self.slots)

    def load(self, slot: int, seed: int, state: dict[str, Tensor] | None = None) -> None:
        """Starts a bot in a slot: from the base's weights or from `state`, without moments, at step 0."""
        for name, weight in self._weights.items():
            weight.data[slot].copy_((state or self.base)[name])
        (parameter,) = self.optimizer.param_groups[slot]["params"]
        for value in self.optimizer.state[parameter].values():
            value.zero_()  # in place: a CUDA graph holds its address
        self.keys.seeds[slot], self.keys.steps[slot] = seed, 0

    def step(self, blocks: Tensor, rates: Sequence[float]) -> Tensor:
        """One optimizer step of each slot on its blocks, int64 [slots, batch, block]: their mean losses [slots].

        A slot at rate 0 keeps its weights; what it is given and what it returns do not count.
        """
        for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
            group["lr"].fill_(rate)
        blocks = blocks.to(self.device, non_blocking=True)
        return self.graphs(blocks).clone() if self.graphs else self._step(blocks)

    def _step(self, blocks: Tensor) -> Tensor:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            losses = self._losses(self._weights, blocks, self.shape, self.keys)
        gradients = torch.autograd.grad(losses.sum(), list(self._weights.values()))
        torch.cat([gradient.flatten(1) for gradient in gradients], dim=1, out=self._gradients)
        norms = torch.linalg.vector_norm(self._gradients, dim=1, keepdim=True)
        self._gradients.mul_((CLIP_NORM / (norms + 1e-6)).clamp(max=1.0))
        self.optimizer.step()
        self.keys.steps.add_(1)
        return losses.detach()

    def state(self, slot: int) -> dict[str, Tensor]:
        """A slot's weights, with the names of the model; valid until the next step or load of the slot."""
        state = {name: weight.detach()[slot] for name, weight in self._weights.items()}
        return state | {_TIED: state["transformer.wte.weight"]}
