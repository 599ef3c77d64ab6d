"""One bot's training, plain PyTorch and DeepSpeed, no Ray: packing, the recipe, the loop, held-out loss.

    trainer = Trainer(model, precision="fp32")         # DeepSpeed is set up once ...
    for tweets in bots:                                # ... and bot after bot starts from the base
        trainer.reset(seed=0)
        log = train(trainer, blocks, batch_size=1, learning_rate=1e-3)
        loss = trainer.loss(held_out)

The recipe is the original huggingtweets': tweets shuffled anew each epoch, each between separators, cut
into blocks; AdamW without weight decay, gradient norm clipped at 1, a cosine to zero without warm-up.
"""

import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file

Tokens = np.ndarray  # int32 [n]


def packed(people: list[list[Tokens]], separator: int, block_size: int, epochs: int, seed: int) -> np.ndarray:
    """All blocks of a training, in order: int64 [blocks, block_size].

    `people`: each person's tweets as token ids; in a blend each epoch repeats the shorter people's tweets
    until all weigh the same in tokens. The last, partial block of an epoch is dropped, unless it is all
    there is.
    """
    heaviest = max(sum(map(len, tweets)) for tweets in people)
    blocks = []
    for epoch in range(epochs):
        rng = np.random.default_rng([seed, epoch])
        tweets = [tweet for person in people for tweet in _weighing(person, heaviest, rng)]
        stream = joined([tweets[i] for i in rng.permutation(len(tweets))], separator)
        count = len(stream) // block_size
        if count == 0:
            blocks.append(stream[None, :])
        else:
            blocks.append(stream[: count * block_size].reshape(count, block_size)[rng.permutation(count)])
    return np.concatenate(blocks)


def _weighing(tweets: list[Tokens], tokens: int, rng: np.random.Generator) -> Iterator[Tokens]:
    """The tweets, then some of them again in a new order, until they hold `tokens` tokens."""
    yield from tweets
    held = sum(map(len, tweets))
    while held < tokens:
        for i in rng.permutation(len(tweets)):
            if held >= tokens:
                return
            held += len(tweets[i])
            yield tweets[i]


def joined(tweets: Sequence[Tokens], separator: int) -> np.ndarray:
    """One stream of tokens, a separator before, between and after the tweets: int64 [n]."""
    lengths = np.fromiter(map(len, tweets), np.int64, len(tweets))
    stream = np.full(lengths.sum() + len(tweets) + 1, separator, dtype=np.int64)
    inside = np.ones(len(stream), bool)
    inside[np.concatenate(([0], np.cumsum(lengths + 1)))] = False
    stream[inside] = np.concatenate(tweets) if len(tweets) else []
    return stream


def cosine(step: int, steps: int, peak: float, warmup: int = 0) -> float:
    """The learning rate of a step: linear warm-up, then a half cosine from `peak` to zero."""
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def resolve_precision(precision: str) -> str:
    """ "auto" is bf16 where a GPU computes with it, else fp32."""
    if precision != "auto":
        return precision
    return "bf16" if torch.cuda.is_available() and torch.cuda.is_bf16_supported() else "fp32"


def resolve_zero_stage(stage: str | int, parameters: int) -> int:
    """ "auto" is ZeRO 0, the fastest, where weights, gradients and AdamW's state fit; else 3, which shards all."""
    if stage != "auto":
        return int(stage)
    if not torch.cuda.is_available():
        return 0
    needed = 16 * parameters  # bytes: fp32 weights, gradients and two moments
    return 0 if needed < 0.6 * torch.cuda.get_device_properties(0).total_memory else 3


def next_token_loss(network: torch.nn.Module, blocks: torch.Tensor) -> torch.Tensor:
    """The mean next-token loss in nats over the [batch, block - 1] predictions of blocks [batch, block]."""
    logits = network(input_ids=blocks, use_cache=False).logits[:, :-1]
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1).float(), blocks[:, 1:].flatten())


@torch.no_grad()
def stream_loss(
    loss: Callable[[torch.Tensor], torch.Tensor], stream: np.ndarray, block_size: int, device: torch.device
) -> float:
    """The mean of `loss` in nats per predicted token over a stream of tokens, int64 [n].

    The stream is cut into blocks that share their border token, so each token but the first is predicted
    once; the last block is a partial one.
    """
    total, count = 0.0, 0
    for start in range(0, len(stream) - 1, block_size - 1):
        block = torch.from_numpy(stream[start : start + block_size])[None].to(device)
        predicted = block.shape[1] - 1
        total += float(loss(block)) * predicted
        count += predicted
    return total / max(1, count)


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
    ):
        deepspeed = _deepspeed()
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.bf16 = precision == "bf16"
        self.base = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
        self.workers = torch.distributed.get_world_size()
        self.zero_stage = zero_stage
        optimizer = torch.optim.AdamW(model.parameters(), betas=betas, weight_decay=weight_decay, fused=True)
        config: dict[str, Any] = {
            "train_micro_batch_size_per_gpu": 1,  # DeepSpeed wants one; the batches say their own size
            "gradient_clipping": 1.0,
            "zero_optimization": {"stage": zero_stage, "overlap_comm": False},
            "zero_allow_untested_optimizer": True,
            "zero_force_ds_cpu_optimizer": False,
            "steps_per_print": 10**9,
        }
        self.engine, *_ = deepspeed.initialize(
            model=model, optimizer=optimizer, config=config, dist_init_required=False
        )

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        """The AdamW inside whatever ZeRO wrapped around it."""
        return getattr(self.engine.optimizer, "optimizer", self.engine.optimizer)

    def reset(self, seed: int, state: dict[str, torch.Tensor] | None = None) -> None:
        """Back to the base (or to `state`) in place: weights, optimizer, step counts and random numbers."""
        with self._gathered():
            self.engine.module.load_state_dict(state or self.base)
        if hasattr(self.engine.optimizer, "refresh_fp32_params"):
            self.engine.optimizer.refresh_fp32_params()
        self.optimizer.state.clear()
        self.engine.zero_grad()
        self.engine.global_steps = self.engine.micro_steps = self.engine.global_samples = 0
        torch.manual_seed(seed)

    def step(self, blocks: torch.Tensor, learning_rate: float) -> torch.Tensor:
        """One optimizer step on this worker's blocks, int64 [batch, block]; the mean loss, still on the device."""
        for group in self.engine.optimizer.param_groups:
            group["lr"] = learning_rate
        self.engine.train()
        loss = self._loss(blocks.to(self.device, non_blocking=True))
        self.engine.backward(loss)
        self.engine.step()
        return loss.detach()

    def _loss(self, blocks: torch.Tensor) -> torch.Tensor:
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.bf16):
            return next_token_loss(self.engine, blocks)

    def loss(self, stream: np.ndarray, block_size: int) -> float:
        """The mean loss in nats per predicted token over a stream of tokens; see `stream_loss`."""
        self.engine.eval()
        return stream_loss(self._loss, stream, block_size, self.device)

    def state(self) -> dict[str, torch.Tensor]:
        """The weights as they are now, whole on every worker; valid until the next step."""
        with self._gathered():
            state = self.engine.module.state_dict()
            return {k: v.detach().clone() for k, v in state.items()} if self.zero_stage == 3 else state

    def save(self, folder: Path, step: int) -> None:
        """Weights, AdamW's moments and the step as safetensors in `folder` (ZeRO 0: every worker holds all)."""
        names = [name for name, _ in self.engine.module.named_parameters()]
        moments = {}
        for name, parameter in zip(names, self.engine.module.parameters(), strict=True):
            for key, value in self.optimizer.state.get(parameter, {}).items():
                moments[f"{name}:{key}"] = value.detach().clone()
        weights = {name: tensor.detach().clone() for name, tensor in self.engine.module.state_dict().items()}
        save_file(weights, folder / "weights.safetensors")
        save_file(moments | {"step": torch.tensor(step)}, folder / "optimizer.safetensors")

    def restore(self, folder: Path) -> int:
        """Takes up what `save` left; returns the step."""
        self.engine.module.load_state_dict(load_file(folder / "weights.safetensors"))
        moments = load_file(folder / "optimizer.safetensors")
        step = int(moments.pop("step"))
        parameters = dict(self.engine.module.named_parameters())
        for name, value in moments.items():
            parameter, _, key = name.rpartition(":")
            self.optimizer.state[parameters[parameter]][key] = value
        return step

    def _gathered(self) -> Any:
        """Under ZeRO 3 each worker holds a part of each weight: bring them together, write back changes."""
        parameters = list(self.engine.module.parameters()) if self.zero_stage == 3 else []
        return _deepspeed().zero.GatheredParameters(parameters, modifier_rank=0, enabled=bool(parameters))


@dataclass
class Log:
    """What a training gave: the loss of each step (nats per token, mean over the workers' blocks)."""

    losses: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    tokens: int = 0  # trained on, over all workers
    seconds: float = 0.0


class Diverged(Exception):
    """The loss became infinite or not a number."""


def train(
    trainer: Trainer,
    blocks: np.ndarray,
    batch_size: int,
    learning_rate: float,
    rank: int = 0,
    on_step: Callable[[int, int], None] = lambda step, steps: None,
) -> Log:
    """Trains on blocks, int64 [n, block], in order: each step takes `batch_size` of them on each worker.

    The last step is filled up from the front, so that every worker has its share of every step. Raises
    Diverged when the loss is no longer a number.
    """
    started = time.perf_counter()
    per_step = batch_size * trainer.workers
    steps = math.ceil(len(blocks) / per_step)
    order = np.resize(np.arange(len(blocks)), (steps, trainer.workers, batch_size))[:, rank]
    losses: list[torch.Tensor] = []
    log = Log(tokens=steps * per_step * blocks.shape[1])
    for step in range(steps):
        rate = cosine(step, steps, learning_rate)
        losses.append(trainer.step(torch.from_numpy(blocks[order[step]]), rate))
        log.rates.append(rate)
        on_step(step + 1, steps)
    mean = torch.stack(losses)
    if trainer.workers > 1:
        torch.distributed.all_reduce(mean)
        mean /= trainer.workers
    log.losses = mean.tolist()
    log.seconds = time.perf_counter() - started
    if not all(map(math.isfinite, log.losses)):
        step = next(i for i, loss in enumerate(log.losses) if not math.isfinite(loss))
        raise Diverged(f"the loss was {log.losses[step]} at step {step + 1} of {steps}")
    return log


def single_process_group() -> None:
    """A process group of this process alone, for running a Trainer outside Ray Train."""
    if not torch.distributed.is_initialized():
        os.environ.setdefault("LOCAL_RANK", "0")  # DeepSpeed insists; Ray Train sets it for its workers
        store = torch.distributed.HashStore()
        torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)


def _deepspeed() -> Any:
    """DeepSpeed, imported late: it takes seconds, and reads DS_ACCELERATOR when it is."""
    if not torch.cuda.is_available():
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
    import deepspeed
    from deepspeed.ops import __compatible_ops__

    # compiling its shared-memory collectives takes 40 s on a machine's first use, for nothing a lane needs
    __compatible_ops__["deepspeed_shm_comm"] = False
    return deepspeed
