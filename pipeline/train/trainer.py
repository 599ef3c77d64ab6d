"""A model that trains one bot after another, each from the same base: PyTorch and DeepSpeed, no Ray.

    init_single_process_group()
    trainer = Trainer(model, precision="fp32")         # slow, once
    for seed, blocks in enumerate(bots):
        trainer.reset(seed)                            # milliseconds
        for block in blocks:
            trainer.step(block[None], learning_rate=1e-3)
        weights = trainer.state()

The optimizer is the original huggingtweets': AdamW without weight decay, gradient norm clipped at 1. loop.py has the
loop over a bot's blocks, schedule.py the learning rates, packing.py the blocks.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from pipeline.core.cuda_graph import CudaGraphs
from pipeline.core.settings import Lora
from pipeline.core.weights import load_state
from pipeline.train import deepspeed_engine
from pipeline.train.lora import LoraAdapters
from pipeline.train.loss import next_token_loss, stream_loss
from pipeline.train.model_surgery import attend_without_mask, freeze_first_layers, use_fast_kernels

T = TypeVar("T")
CLIP_NORM = 1.0  # of the gradient
_GRAPH_WARMUP = 8  # steps of a shape before it is recorded: most bots have one short last batch, and a shape of its own
_FIRST_WARMUP = 2  # the same where chosen shapes are recorded first: what a step allocates on first use exists then


class Trainer:
    """A model under DeepSpeed, with the base's weights kept aside. Needs a process group.

    Ray Train makes a process group; `init_single_process_group` does for one process alone.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        *,
        precision: str = "fp32",
        zero_stage: int = 0,
        weight_decay: float = 0.0,
        betas: tuple[float, float] = (0.9, 0.999),
        gradient_checkpointing: bool = False,
        compile: bool = False,
        freeze_layers: int = 0,
        lora: Lora | None = None,
        record_first: bool = False,
    ):
        """Takes the model over: it is changed in place. `precision` is "fp32" or "bf16"; weights stay fp32.

        Raises UserError if the model lacks the layers to freeze or to put LoRA beside.
        """
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.workers, self.rank = torch.distributed.get_world_size(), torch.distributed.get_rank()
        # a worker alone on a GPU keeps the base beside the model, and can record its steps
        self._alone_on_gpu = self.workers == 1 and zero_stage == 0 and self.device.type == "cuda"
        home = self.device if self._alone_on_gpu else torch.device("cpu")
        self.base = {name: tensor.detach().to(home, copy=True) for name, tensor in model.state_dict().items()}
        self.vocabulary: int = model.get_input_embeddings().num_embeddings  # type: ignore[operator]
        self.adapters = LoraAdapters(model, lora) if lora else None
        if freeze_layers:
            freeze_first_layers(model, freeze_layers)
        if gradient_checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": False})  # type: ignore[operator]
        if record_first:
            attend_without_mask(model)
        use_fast_kernels(model, fp32_on_cpu=self.device.type == "cpu" and precision == "fp32")
        if compile:
            torch._dynamo.config.suppress_errors = True  # what does not compile runs as it is
            model.compile(dynamic=False)
        self._trained = [parameter for parameter in model.to(home).parameters() if parameter.requires_grad]
        optimizer = self._optimizer(betas, weight_decay)
        # DeepSpeed clips weight by weight and asks other workers for their norms: a worker alone does it in `_clip`
        clip_norm = 0.0 if self.workers == 1 and zero_stage == 0 else CLIP_NORM
        self.engine = deepspeed_engine.initialize(model, optimizer, zero_stage, precision, clip_norm)
        # other models' forward passes may read numbers back from the GPU, which a graph cannot do
        recordable = self._alone_on_gpu and getattr(model.config, "model_type", None) == "gpt2"
        self.record_first = record_first
        self.graphs = CudaGraphs(self._step, _FIRST_WARMUP if record_first else _GRAPH_WARMUP) if recordable else None
        self.recorded: set[tuple[int, int]] = set()  # shapes of the blocks that `record` was called for

    def _optimizer(self, betas: tuple[float, float], weight_decay: float) -> torch.optim.Optimizer:
        capturable = self._alone_on_gpu
        optimizer = torch.optim.AdamW(
            self._trained, betas=betas, weight_decay=weight_decay, fused=True, capturable=capturable
        )
        if capturable:
            for group in optimizer.param_groups:
                group["lr"] = torch.zeros((), device=self.device)  # a recorded step reads the rate from there
        return optimizer

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        """The AdamW inside what ZeRO wrapped around it."""
        return deepspeed_engine.adamw(self.engine)

    def reset(self, seed: int, state: dict[str, torch.Tensor] | None = None) -> None:
        """Starts over in place, from the base's weights or from `state`: weights, optimizer, random numbers."""
        state = state or self.base
        self._load(self.adapters.initial_state(state, seed) if self.adapters else state)
        deepspeed_engine.reset(self.engine)
        torch.manual_seed(seed)

    def record(self, batch_size: int, block_size: int) -> None:
        """Records the step on blocks of this shape as a CUDA graph. It takes steps for that, so `reset` must follow.

        On blocks of a shape that was not recorded, steps launch their kernels one by one. So a bot's steps are computed
        in the same way whichever bots a lane had before. Does nothing without `record_first`, where steps cannot be
        recorded, and for a shape that is recorded already.
        """
        shape = batch_size, block_size
        if self.graphs and self.record_first and shape not in self.recorded:
            blocks = torch.zeros(shape, dtype=torch.int64, device=self.device)
            self.step(blocks, learning_rate=0.0)
            for _ in range(_FIRST_WARMUP + 1):
                self.graphs(blocks)
            self.recorded.add(shape)

    def recover(self) -> None:
        """Frees what a step that raised an error left in memory. Raises where the device no longer works at all."""
        self.engine.zero_grad()
        if self.device.type == "cuda":
            torch.cuda.synchronize()
            torch.cuda.empty_cache()

    def step(self, blocks: torch.Tensor, learning_rate: float, micro_batches: int = 1) -> torch.Tensor:
        """One optimizer step on this worker's blocks, int64 [batch, block]; returns their mean loss, on the device.

        The blocks are computed in `micro_batches` parts, one after another: more of them need less memory.
        """
        for group in self.engine.optimizer.param_groups:
            if isinstance(group["lr"], torch.Tensor):
                group["lr"].fill_(learning_rate)
            else:
                group["lr"] = learning_rate
        if not self.engine.module.training:  # it goes through all modules, which takes a small model's step long
            self.engine.train()
        micro_batches = min(micro_batches, len(blocks))
        self.engine.set_train_batch_size(micro_batches * self.workers)
        blocks = blocks.to(self.device, non_blocking=True)
        recordable = not self.record_first or tuple(blocks.shape) in self.recorded
        if self.graphs and micro_batches == 1 and recordable:
            return self.graphs(blocks).clone()  # the next step overwrites it
        return self._step(blocks, micro_batches)

    def _step(self, blocks: torch.Tensor, micro_batches: int = 1) -> torch.Tensor:
        losses = []
        for number, micro_batch in enumerate(blocks.tensor_split(micro_batches), start=1):
            loss = next_token_loss(self.engine, micro_batch)
            # DeepSpeed divides by the number of micro-batches, which are not all of one size
            self.engine.backward(loss * (micro_batches * len(micro_batch) / len(blocks)))
            if number == micro_batches and not self.engine.gradient_clipping():
                self._clip()
            self.engine.step()
            losses.append(loss.detach() * (len(micro_batch) / len(blocks)))
        return torch.stack(losses).sum()

    def _clip(self) -> None:
        """Limits the norm of the gradient to `CLIP_NORM`; on a CPU with the same bits as DeepSpeed's own clipping."""
        if self.device.type == "cuda":
            torch.nn.utils.clip_grad_norm_(self._trained, CLIP_NORM, foreach=True)
            return
        gradients = [parameter.grad for parameter in self._trained if parameter.grad is not None]
        norm = torch.stack(torch._foreach_norm(gradients)).pow(2).sum().pow(0.5)
        torch._foreach_mul_(gradients, (CLIP_NORM / (norm + 1e-6)).clamp(max=1.0))

    def loss(self, stream: np.ndarray, block_size: int) -> float:
        """The mean loss over a stream of tokens, int64 [n], in nats per predicted token; see `stream_loss`."""
        self.engine.eval()
        with torch.compiler.set_stance("force_eager"):  # each of its shapes would be compiled anew
            loss = partial(next_token_loss, self.engine)
            return stream_loss(loss, stream, block_size, self.device, self.vocabulary)

    def state(self) -> dict[str, torch.Tensor]:
        """The weights, with LoRA's merged in, whole on every worker; valid until the next step."""
        with deepspeed_engine.gathered_parameters(self.engine):
            state = self.engine.module.state_dict()
            state = self.adapters.merge(state) if self.adapters else state
            if self.engine.zero_optimization_stage() == 3:  # ZeRO takes the whole weights away again
                return {name: tensor.detach().clone() for name, tensor in state.items()}
            return state

    def save(self, folder: Path, step: int) -> None:
        """Writes what `restore` needs, as safetensors.

        Rank 0 writes the weights; each worker its part of AdamW's moments, its random numbers' state and the step.
        """
        with deepspeed_engine.gathered_parameters(self.engine):
            weights = {name: tensor.detach().clone() for name, tensor in self.engine.module.state_dict().items()}
        if self.rank == 0:
            save_file(weights, folder / "weights.safetensors")
        own = {"step": torch.tensor(step), "random": torch.get_rng_state()}
        if torch.cuda.is_available():
            own["random_cuda"] = torch.cuda.get_rng_state()
        for i, tensor in enumerate(deepspeed_engine.optimized_tensors(self.engine)):
            own[f"{i}:weights"] = tensor.detach().clone()
            own |= {f"{i}:{key}": value.clone() for key, value in self.optimizer.state.get(tensor, {}).items()}
        save_file(own, folder / f"optimizer-{self.rank}.safetensors")

    def restore(self, folder: Path) -> int:
        """Continues from what `save` wrote; returns the step. Without ZeRO all workers' parts are the same."""
        self._load(load_file(folder / "weights.safetensors"))
        part = folder / f"optimizer-{self.rank}.safetensors"
        own = load_file(part if part.exists() else folder / "optimizer-0.safetensors")
        step = int(own.pop("step"))
        torch.set_rng_state(own.pop("random"))
        if "random_cuda" in own:
            torch.cuda.set_rng_state(own.pop("random_cuda"))
        optimized = deepspeed_engine.optimized_tensors(self.engine)
        for name, value in own.items():
            number, _, key = name.partition(":")
            tensor = optimized[int(number)]
            if key == "weights":
                tensor.data.copy_(value)
            elif key in self.optimizer.state[tensor]:
                self.optimizer.state[tensor][key].copy_(value)  # in place: a CUDA graph holds its address
            else:
                self.optimizer.state[tensor][key] = value.to(tensor.device)
        return step

    def on_rank_0(self, compute: Callable[[], T]) -> T:
        """Calls `compute` on rank 0 only, and returns its result on every worker."""
        box = [compute() if self.rank == 0 else None]
        if self.workers > 1:
            torch.distributed.broadcast_object_list(box, src=0)
        return box[0]  # type: ignore[return-value]

    def of_all_ranks(self, value: T) -> list[T]:
        """What each worker gave, by rank; every worker has to call it."""
        if self.workers == 1:
            return [value]
        values: list[T | None] = [None] * self.workers
        torch.distributed.all_gather_object(values, value)
        return values  # type: ignore[return-value]

    def _load(self, state: dict[str, torch.Tensor]) -> None:
        with deepspeed_engine.gathered_parameters(self.engine):
            load_state(self.engine.module, state)
        deepspeed_engine.refresh_master_weights(self.engine)
