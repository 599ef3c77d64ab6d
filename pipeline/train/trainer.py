"""One bot's training, plain PyTorch and DeepSpeed, no Ray: the recipe, the loop, held-out loss.

    trainer = Trainer(model, precision="fp32")         # DeepSpeed is set up once ...
    for tweets in bots:                                # ... and bot after bot starts from the base
        trainer.reset(seed=0)
        log = train(trainer, blocks, batch_size=1, learning_rate=1e-3)
        loss = trainer.loss(held_out)

The recipe is the original huggingtweets': tweets in blocks (packing.py); AdamW without weight decay, gradient norm
clipped at 1, a cosine to zero without warm-up (unless `train.schedule` and `train.warmup_ratio` say otherwise).
"""

import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from pipeline.core import onednn
from pipeline.core.cuda_graph import CudaGraphs
from pipeline.core.model_folder import load_state
from pipeline.core.settings import Lora
from pipeline.train.trainable_weights import Adapters, freeze

_IGNORED = -100  # the label of a position that predicts nothing
_EVALUATED_BLOCKS = 4  # in a batch of the held-out loss
_CLIP = 1.0  # the gradient's norm
_GRAPH_WARMUP = 8  # steps of a shape before it is recorded: few bots have a last, short batch of the same shape


def scheduled(step: int, steps: int, peak: float, schedule: str = "cosine", warmup: int = 0) -> float:
    """The learning rate of a step: a linear warm-up to `peak`, then half a cosine or a line to zero, or constant."""
    if step < warmup:
        return peak * (step + 1) / warmup
    passed = (step - warmup) / max(1, steps - warmup)
    falls = {"cosine": 0.5 * (1 + math.cos(math.pi * passed)), "linear": 1 - passed, "constant": 1.0}
    return peak * falls[schedule]


def resolve_precision(precision: str) -> str:
    """ "auto" is bf16 where a GPU computes with it, else fp32."""
    if precision != "auto":
        return precision
    return "bf16" if torch.cuda.is_available() and torch.cuda.is_bf16_supported() else "fp32"


def resolve_zero_stage(stage: str | int, parameters: int, share: float = 1.0) -> int:
    """ "auto" is ZeRO 0, the fastest, where weights, gradients and AdamW's state fit into this share of a GPU; else
    3, which shards all."""
    if stage != "auto":
        return int(stage)
    if not torch.cuda.is_available():
        return 0
    needed = 16 * parameters  # bytes: fp32 weights, gradients and two moments
    return 0 if needed < 0.6 * min(share, 1) * torch.cuda.get_device_properties(0).total_memory else 3


def claim_device(share: float) -> None:
    """Tells DeepSpeed which GPU is this process's, and holds it to its share of the memory."""
    if torch.cuda.is_available():
        os.environ["LOCAL_RANK"] = str(torch.cuda.current_device())  # DeepSpeed takes it for the device's number
        if share < 1:
            torch.cuda.set_per_process_memory_fraction(share)


def next_token_loss(network: torch.nn.Module, blocks: torch.Tensor) -> torch.Tensor:
    """The mean next-token loss in nats over the [batch, block - 1] predictions of blocks [batch, block]."""
    logits = network(input_ids=blocks, use_cache=False).logits
    # the last token has nothing to predict: leaving it out by its label spares copies of the logits
    labels = torch.nn.functional.pad(blocks[:, 1:], (0, 1), value=_IGNORED)
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1).float(), labels.flatten(), ignore_index=_IGNORED)


@torch.no_grad()
def stream_loss(
    loss: Callable[[torch.Tensor], torch.Tensor], stream: np.ndarray, block_size: int, device: torch.device
) -> float:
    """The mean of `loss` in nats per predicted token over a stream of tokens, int64 [n].

    The stream is cut into blocks that share their border token, so each token but the first is predicted
    once; the last block is a partial one. Whole blocks go in batches.
    """
    total, count = torch.zeros((), device=device), 0
    whole = max(0, (len(stream) - 1) // (block_size - 1))
    starts = np.arange(whole) * (block_size - 1)
    batches = [stream[start[:, None] + np.arange(block_size)] for start in _chunks(starts, _EVALUATED_BLOCKS)]
    rest = stream[whole * (block_size - 1) :][None]
    for blocks in [*batches, rest] if rest.shape[1] > 1 else batches:
        predicted = blocks.shape[0] * (blocks.shape[1] - 1)
        total += loss(torch.from_numpy(blocks).to(device)) * predicted
        count += predicted
    return float(total) / max(1, count)


def _fuse_gelu(model: torch.nn.Module) -> None:
    """GPT-2's GELU in one kernel: transformers writes it out in eight, some of them in fp32."""
    for module in model.modules():
        if type(module).__name__ == "NewGELUActivation":
            module.forward = partial(torch.nn.functional.gelu, approximate="tanh")


def _chunks(values: np.ndarray, size: int) -> list[np.ndarray]:
    return [values[i : i + size] for i in range(0, len(values), size)]


class Trainer:
    """A model under DeepSpeed that trains one bot after another, each from the same base.

    Needs a process group (Ray Train makes one; `single_process_group` does for one process alone).
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
    ):
        """Raises UserError where the model has no such layers to freeze or to put LoRA beside."""
        deepspeed = _deepspeed()
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.workers, self.rank = torch.distributed.get_world_size(), torch.distributed.get_rank()
        self.zero_stage = zero_stage
        alone = self.workers == 1 and zero_stage == 0
        # a GPU's lane of its own keeps the base beside the model, and its steps can be recorded
        on_gpu = alone and self.device.type == "cuda"
        home = self.device if on_gpu else torch.device("cpu")
        self.base = {name: tensor.detach().to(home, copy=True) for name, tensor in model.state_dict().items()}
        self.vocabulary: int = model.get_input_embeddings().num_embeddings  # type: ignore[operator]
        self.adapters = Adapters(model, lora) if lora else None
        if freeze_layers:
            freeze(model, freeze_layers)
        if gradient_checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": False})  # type: ignore[operator]
        _fuse_gelu(model)
        if self.device.type == "cpu" and precision == "fp32":
            onednn.patch_linear_layers(model)
        if compile:
            torch._dynamo.config.suppress_errors = True  # what does not compile runs as it is
            model.compile(dynamic=False)
        model.to(home)
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        optimizer = torch.optim.AdamW(trained, betas=betas, weight_decay=weight_decay, fused=True, capturable=on_gpu)
        config: dict[str, Any] = {
            "train_micro_batch_size_per_gpu": 1,  # DeepSpeed wants one; the batches say their own size
            "gradient_clipping": 0.0 if on_gpu else _CLIP,  # DeepSpeed's goes weight by weight; see `step`
            "zero_optimization": {"stage": zero_stage, "overlap_comm": False},
            "zero_allow_untested_optimizer": True,
            "zero_force_ds_cpu_optimizer": False,
            "steps_per_print": 10**9,
            "timers": {"throughput": {"enabled": False}},  # it would wait for the GPU in each step
            "torch_autocast": {"enabled": precision == "bf16", "dtype": "bfloat16"},
        }
        self.engine, *_ = deepspeed.initialize(
            model=model, optimizer=optimizer, config=config, dist_init_required=False
        )
        if alone:
            self.engine.enable_backward_allreduce = False  # with nobody to share with it copies all gradients twice
        self.graphs: CudaGraphs | None = None
        if on_gpu:
            for group in optimizer.param_groups:
                group["lr"] = torch.zeros((), device=self.device)  # a recorded step reads it from there
            if getattr(model.config, "model_type", None) == "gpt2":  # others' passes may ask the GPU for numbers
                self.graphs = CudaGraphs(self._step, _GRAPH_WARMUP)

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        """The AdamW inside whatever ZeRO wrapped around it."""
        return getattr(self.engine.optimizer, "optimizer", self.engine.optimizer)

    def reset(self, seed: int, state: dict[str, torch.Tensor] | None = None) -> None:
        """Back to the base (or to `state`) in place: weights, optimizer, step counts and random numbers."""
        state = state or self.base
        self._load(self.adapters.begun(state, seed) if self.adapters else state)
        for moments in self.optimizer.state.values():
            for value in moments.values():
                value.zero_()  # in place: a recorded step knows where they are
        self.engine.zero_grad()
        self.engine.global_steps = self.engine.micro_steps = self.engine.global_samples = 0
        self.engine.skipped_steps = 0
        torch.manual_seed(seed)

    def _load(self, state: dict[str, torch.Tensor]) -> None:
        with self._gathered():
            load_state(self.engine.module, state)
        if hasattr(self.engine.optimizer, "refresh_fp32_params"):
            self.engine.optimizer.refresh_fp32_params()

    def recover(self) -> None:
        """After an error: frees what the failed step left. Raises where the device no longer works at all."""
        self.engine.zero_grad()
        if self.device.type == "cuda":
            torch.cuda.synchronize()
            torch.cuda.empty_cache()

    def step(self, blocks: torch.Tensor, learning_rate: float, parts: int = 1) -> torch.Tensor:
        """One optimizer step on this worker's blocks, int64 [batch, block]; the mean loss, still on the device.

        `parts`: into how many micro-batches the blocks go, one after another; fewer fit into less memory.
        """
        for group in self.engine.optimizer.param_groups:
            if isinstance(group["lr"], torch.Tensor):
                group["lr"].fill_(learning_rate)
            else:
                group["lr"] = learning_rate
        self.engine.train()
        parts = min(parts, len(blocks))
        self.engine.set_train_batch_size(parts * self.workers)
        blocks = blocks.to(self.device, non_blocking=True)
        return self.graphs(blocks).clone() if self.graphs and parts == 1 else self._step(blocks, parts)

    def _step(self, blocks: torch.Tensor, parts: int = 1) -> torch.Tensor:
        losses = []
        for part, micro_batch in enumerate(blocks.tensor_split(parts), start=1):
            loss = next_token_loss(self.engine, micro_batch)
            # DeepSpeed divides by the number of parts, which are not all of one size
            self.engine.backward(loss * (parts * len(micro_batch) / len(blocks)))
            if part == parts and not self.engine.gradient_clipping():
                torch.nn.utils.clip_grad_norm_(self.engine.module.parameters(), _CLIP, foreach=True)
            self.engine.step()
            losses.append(loss.detach() * (len(micro_batch) / len(blocks)))
        return torch.stack(losses).sum()

    def loss(self, stream: np.ndarray, block_size: int) -> float:
        """The mean loss in nats per predicted token over a stream of tokens; see `stream_loss`."""
        self.engine.eval()
        with torch.compiler.set_stance("force_eager"):  # its shapes would each be compiled anew
            return stream_loss(partial(next_token_loss, self.engine), stream, block_size, self.device)

    def state(self) -> dict[str, torch.Tensor]:
        """The weights as they are now, LoRA's merged in, whole on every worker; valid until the next step."""
        with self._gathered():
            state = self.engine.module.state_dict()
            state = self.adapters.merged(state) if self.adapters else state
            return {k: v.detach().clone() for k, v in state.items()} if self.zero_stage == 3 else state

    def save(self, folder: Path, step: int) -> None:
        """Leaves in `folder` what `restore` needs, as safetensors: the weights, written by worker 0, and each
        worker's part of AdamW's moments, its random numbers' state and the step."""
        with self._gathered():
            weights = {name: tensor.detach().clone() for name, tensor in self.engine.module.state_dict().items()}
        if self.rank == 0:
            save_file(weights, folder / "weights.safetensors")
        own = {"step": torch.tensor(step), "random": torch.get_rng_state()}
        if torch.cuda.is_available():
            own["random_cuda"] = torch.cuda.get_rng_state()
        for i, parameter in enumerate(self._optimized()):
            own[f"{i}:weights"] = parameter.detach().clone()
            own |= {f"{i}:{key}": value.clone() for key, value in self.optimizer.state.get(parameter, {}).items()}
        save_file(own, folder / f"optimizer-{self.rank}.safetensors")

    def restore(self, folder: Path) -> int:
        """Takes up what `save` left; returns the step. (Without ZeRO every worker's part is the same.)"""
        self._load(load_file(folder / "weights.safetensors"))
        part = folder / f"optimizer-{self.rank}.safetensors"
        own = load_file(part if part.exists() else folder / "optimizer-0.safetensors")
        step = int(own.pop("step"))
        torch.set_rng_state(own.pop("random"))
        if "random_cuda" in own:
            torch.cuda.set_rng_state(own.pop("random_cuda"))
        optimized = self._optimized()
        for name, value in own.items():
            number, _, key = name.partition(":")
            parameter = optimized[int(number)]
            if key == "weights":
                parameter.data.copy_(value)
            elif key in self.optimizer.state[parameter]:
                self.optimizer.state[parameter][key].copy_(value)
            else:
                self.optimizer.state[parameter][key] = value.to(parameter.device)
        return step

    def _optimized(self) -> list[torch.Tensor]:
        """The tensors that AdamW updates on this worker: the model's own, or under ZeRO its part of them in fp32."""
        for parts in ("fp32_partitioned_groups_flat", "single_partition_of_fp32_groups"):
            if hasattr(self.engine.optimizer, parts):
                return list(getattr(self.engine.optimizer, parts))
        return [parameter for parameter in self.engine.module.parameters() if parameter.requires_grad]

    def _gathered(self) -> Any:
        """Under ZeRO 3 each worker holds a part of each weight: bring them together, write back changes."""
        parameters = list(self.engine.module.parameters()) if self.zero_stage == 3 else []
        return _deepspeed().zero.GatheredParameters(parameters, modifier_rank=0, enabled=bool(parameters))


@dataclass
class Log:
    """What a training gave so far: the loss of each step (nats per token, mean over the workers' blocks)."""

    losses: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    tokens: int = 0  # trained on, over all workers
    seconds: float = 0.0
    fresh: list[torch.Tensor] = field(default_factory=list)  # this worker's losses, still on the device

    def settle(self, workers: int) -> None:
        """Brings the fresh losses in, over all workers. Raises Diverged where one is no longer a number."""
        if not self.fresh:
            return
        mean = torch.stack(self.fresh)
        if workers > 1:
            torch.distributed.all_reduce(mean)
            mean /= workers
        self.losses += mean.tolist()
        self.fresh.clear()
        for step, loss in enumerate(self.losses, start=1):
            if not math.isfinite(loss):
                raise Diverged(f"the loss was {loss} at step {step}")


class Diverged(Exception):
    """The loss became infinite or not a number."""


def out_of_memory(error: BaseException) -> bool:
    """Whether a smaller batch might help: a device's memory ran out, or the machine's."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)


def train(
    trainer: Trainer,
    blocks: np.ndarray,
    batch_size: int,
    learning_rate: float,
    *,
    schedule: str = "cosine",
    warmup_ratio: float = 0.0,
    parts: int = 1,
    log: Log | None = None,
    on_step: Callable[[Log], None] = lambda log: None,
) -> Log:
    """Trains on blocks, int64 [n, block], in order: each step takes `batch_size` of them on each worker.

    The last step is filled up from the front, so that every worker has its share of every step. The rate warms up
    over `warmup_ratio` of the steps, then goes as `scheduled` tells. `parts`: see `Trainer.step`. `log`: of the steps
    that a restored trainer has behind it. Raises Diverged when the loss is no longer a number.
    """
    log = log or Log()
    started = time.perf_counter() - log.seconds
    per_step = batch_size * trainer.workers
    steps = math.ceil(len(blocks) / per_step)
    warmup = math.ceil(steps * warmup_ratio)
    order = np.resize(np.arange(len(blocks)), (steps, trainer.workers, batch_size))[:, trainer.rank]
    for step in range(len(log.rates), steps):
        rate = scheduled(step, steps, learning_rate, schedule, warmup)
        log.fresh.append(trainer.step(torch.from_numpy(blocks[order[step]]), rate, parts))
        log.rates.append(rate)
        log.tokens += per_step * blocks.shape[1]
        log.seconds = time.perf_counter() - started
        on_step(log)
    log.settle(trainer.workers)
    log.seconds = time.perf_counter() - started
    return log


def single_process_group() -> None:
    """A process group of this process alone, in place of whatever group it was in."""
    if torch.distributed.is_initialized():
        if torch.distributed.get_world_size() == 1:
            return
        torch.distributed.destroy_process_group()
    # DeepSpeed asks the environment as well
    os.environ |= {"RANK": "0", "WORLD_SIZE": "1"}
    os.environ["LOCAL_RANK"] = str(torch.cuda.current_device()) if torch.cuda.is_available() else "0"
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    torch.distributed.init_process_group(backend, store=torch.distributed.HashStore(), rank=0, world_size=1)


def _deepspeed() -> Any:
    """DeepSpeed, imported late: it takes seconds, and reads DS_ACCELERATOR when it is."""
    if not torch.cuda.is_available():
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
    import deepspeed
    from deepspeed.ops import __compatible_ops__

    # compiling its shared-memory collectives takes 40 s on a machine's first use, for nothing a lane needs
    __compatible_ops__["deepspeed_shm_comm"] = False
    return deepspeed
