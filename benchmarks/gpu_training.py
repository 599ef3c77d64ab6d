"""Which way of training fills a GPU: a lane, several lanes in one process, or several bots in one step (stacked).

    make bench-gpu ARGS=training            # on an H200 at most 8 minutes; gpu.py calls `training`

Every way trains bots at batch 1 on random blocks. A row of the table has the tokens per second of all bots together,
the GPU's memory, and whether a bot has the same bits when it is trained again, beside the same neighbours and beside
others. Lanes in one process have a stream and a CUDA graph each. "fixed order" uses PyTorch's deterministic kernels.
"""

import contextlib
import gc
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch

from pipeline.core import model_folder
from pipeline.core.errors import one_line
from pipeline.train.deepspeed_engine import init_single_process_group
from pipeline.train.device import choose_precision
from pipeline.train.stacked.trainer import StackedTrainer
from pipeline.train.trainer import Trainer

GPU = torch.cuda.is_available()
PRECISION = choose_precision("auto")
BUDGET_SECONDS = 420.0  # of all models together; what does not fit is named and left out
RATE = 1e-4
_STEPS_COMPARED = 8
_BLOCKS = 16  # random ones, which are repeated


@dataclass(frozen=True)
class Experiment:
    """A way of training to be measured."""

    way: str  # "lanes" or "stacked"
    bots: int  # trained at once
    compile: bool = False
    fixed_order: bool = False
    attention_dropout: bool = True  # as the model's config has it; False: none
    checkpointing: bool = False  # of activations

    @property
    def seconds(self) -> float:
        """An estimate of its time."""
        return 40.0 if self.compile else 7.0

    def __str__(self) -> str:
        named = {
            "compiled": self.compile,
            "fixed order": self.fixed_order,
            "no attention dropout": not self.attention_dropout,
            "gradient checkpointing": self.checkpointing,
        }
        return ", ".join([f"{self.way} {self.bots}", *(name for name, on in named.items() if on)])


@dataclass(frozen=True)
class Row:
    """What was measured."""

    tokens_per_second: float
    step_milliseconds: float
    memory_gb: float
    same_again: bool
    same_beside_others: bool


def plan() -> list[Experiment]:
    """The experiments, the most telling ones first."""
    return [
        Experiment("lanes", 1),
        *(Experiment("stacked", bots) for bots in (1, 4, 8)),
        *(Experiment("stacked", bots, attention_dropout=False) for bots in (1, 2, 4, 8, 16, 32)),
        *(Experiment("lanes", bots) for bots in (2, 4)),
        Experiment("lanes", 1, compile=True),
        Experiment("stacked", 8, compile=True, attention_dropout=False),
        Experiment("lanes", 1, fixed_order=True),
        Experiment("stacked", 8, fixed_order=True, attention_dropout=False),
        Experiment("lanes", 1, checkpointing=True),
        Experiment("lanes", 2, compile=True),
        Experiment("stacked", 16),
        Experiment("stacked", 8, compile=True),
    ]


def training(
    folder: Path, block: int, experiments: Sequence[Experiment], deadline: float, seconds: float = 3.0
) -> dict[Experiment, Row]:
    """Measures the experiments, each for so many `seconds`, and prints the table; `deadline`: a time.perf_counter()."""
    print("| way and bots | tokens/s | ms a step | GPU memory | same bits again | beside others |")
    print("| --- | --- | --- | --- | --- | --- |")
    rows = {}
    for one in experiments:
        if time.perf_counter() + one.seconds > deadline:
            print(f"| {one} | left out: no time |")
            continue
        try:
            rows[one] = row = measure(one, folder, block, seconds)
        except Exception as error:  # memory that runs out, a step that cannot be recorded: a result too
            print(f"| {one} | failed: {one_line(error)[:200]} |", flush=True)
            continue
        cells = [f"{row.tokens_per_second:,.0f}", f"{row.step_milliseconds:.2f}", f"{row.memory_gb:.1f} GB"]
        cells += ["yes" if same else "no" for same in (row.same_again, row.same_beside_others)]
        print(f"| {one} | " + " | ".join(cells) + " |", flush=True)
    return rows


def measure(one: Experiment, folder: Path, block: int, seconds: float) -> Row:
    """Measures one experiment on the model in `folder`."""
    model = model_folder.load_model(folder)
    if not one.attention_dropout:
        model.config.attn_pdrop = 0.0
        for name, module in model.named_modules():
            if name.endswith("attn_dropout"):
                module.p = 0.0
    with _fixed_order(one.fixed_order), _memory_of_its_own():
        way: _Way = _Lanes(model, one, block) if one.way == "lanes" else _Stack(model, one, block)
        bits = [way.bits(neighbours) for neighbours in (1, 1, 2)]
        steps, taken = _timed(way, seconds)
        memory = torch.cuda.max_memory_reserved() / 1e9 if GPU else 0.0
        tokens = steps * one.bots * block
        return Row(tokens / taken, 1000 * taken / steps, memory, _same(*bits[:2]), _same(bits[0], bits[2]))


def synchronize() -> None:
    """Waits for the GPU, where there is one."""
    if GPU:
        torch.cuda.synchronize()


class _Way(Protocol):
    def step(self, number: int) -> None:
        """One step of each bot, on the blocks of this number."""

    def bits(self, neighbours: int) -> dict[str, torch.Tensor]:
        """Trains the bot of seed 0 a few steps, beside those of other seeds: its weights."""


class _Lanes:
    """Trainers in one process, each on a stream of its own."""

    def __init__(self, model: torch.nn.Module, one: Experiment, block: int):
        init_single_process_group()
        state = {name: value.clone() for name, value in model.state_dict().items()}
        self.trainers, self.streams = [], []
        for _ in range(one.bots):
            copy = type(model)(model.config) if self.trainers else model
            copy.load_state_dict(state)
            options = {"compile": one.compile, "gradient_checkpointing": one.checkpointing, "record_first": True}
            self.trainers.append(Trainer(copy, precision=PRECISION, **options))
            self.streams.append(torch.cuda.Stream() if GPU else None)
            self.trainers[-1].record(1, block)
        self.blocks = _blocks(self.trainers[0].vocabulary, one.bots, block)

    def step(self, number: int) -> None:
        blocks = self.blocks[number % _BLOCKS]
        for trainer, stream, own in zip(self.trainers, self.streams, blocks, strict=True):
            with torch.cuda.stream(stream):
                trainer.step(own, RATE)

    def bits(self, neighbours: int) -> dict[str, torch.Tensor]:
        for number, trainer in enumerate(self.trainers):
            trainer.reset(seed=number and neighbours + number)
        synchronize()
        for number in range(_STEPS_COMPARED):
            self.step(number)
        synchronize()
        return _copied(self.trainers[0].state())


class _Stack:
    """Bots in one step."""

    def __init__(self, model: Any, one: Experiment, block: int):
        self.trainer = StackedTrainer(model, one.bots, precision=PRECISION, compile=one.compile)
        self.trainer.record(1, block)
        self.blocks = _blocks(model.config.vocab_size, one.bots, block)
        self.others = _blocks(model.config.vocab_size, one.bots, block, seed=1)

    def step(self, number: int) -> None:
        self.trainer.step(self.blocks[number % _BLOCKS], [RATE] * self.trainer.slots)

    def bits(self, neighbours: int) -> dict[str, torch.Tensor]:
        for slot in range(self.trainer.slots):
            self.trainer.load(slot, seed=slot and neighbours + slot)
        for number in range(_STEPS_COMPARED):
            blocks = (self.blocks if neighbours == 1 else self.others)[number].clone()
            blocks[0] = self.blocks[number, 0]
            self.trainer.step(blocks, [RATE] * self.trainer.slots)
        return _copied(self.trainer.state(0))


def _blocks(words: int, bots: int, block: int, seed: int = 0) -> torch.Tensor:
    """Random blocks of batch 1, on the device: int64 [_BLOCKS, bots, 1, block]."""
    random = torch.Generator().manual_seed(seed)
    blocks = torch.randint(0, words, (_BLOCKS, bots, 1, block), generator=random)
    return blocks.to("cuda" if GPU else "cpu")


def _timed(way: _Way, seconds: float) -> tuple[int, float]:
    """Steps for so long: their number and their seconds."""
    synchronize()
    started, steps = time.perf_counter(), 0
    while time.perf_counter() - started < seconds:
        for _ in range(_BLOCKS):
            way.step(steps)
            steps += 1
        synchronize()
    return steps, time.perf_counter() - started


def _copied(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: value.detach().cpu().clone() for name, value in state.items()}


def _same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


@contextlib.contextmanager
def _fixed_order(on: bool) -> Iterator[None]:
    torch.use_deterministic_algorithms(on, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


@contextlib.contextmanager
def _memory_of_its_own() -> Iterator[None]:
    """Frees what earlier experiments left, so that the peak of memory is this one's."""
    gc.collect()
    torch.compiler.reset()
    if GPU:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    yield
