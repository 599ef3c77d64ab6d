"""The training loop of a stack: each slot trains one bot after another, and takes the next where one has ended.

    for trained in train_stack(trainer, [StackedBot("ada", blocks, learning_rate=1e-3)]):
        save(trained.bot, trained.weights)

All bots have blocks of one size, since a step has one shape. Their numbers of blocks may differ: a slot gets its next
bot between two steps, while the others train on.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch

from pipeline.train.loop import Diverged, TrainingLog
from pipeline.train.packing import Blocks
from pipeline.train.schedule import learning_rate_at
from pipeline.train.stacked.trainer import StackedTrainer


@dataclass(frozen=True)
class StackedBot:
    """What a bot is trained on, and how."""

    name: str
    blocks: Blocks | np.ndarray  # int64 [n, block]
    learning_rate: float  # at its peak
    seed: int = 0
    schedule: str = "cosine"
    warmup_ratio: float = 0.0


@dataclass(frozen=True)
class StackedResult:
    """A bot that has ended."""

    bot: str
    log: TrainingLog
    weights: dict[str, torch.Tensor]  # valid until the next result is asked for
    error: Diverged | None = None  # then the weights are of no use


@dataclass
class _Slot:
    bot: StackedBot
    batch_size: int
    log: TrainingLog = field(default_factory=TrainingLog)

    @property
    def steps(self) -> int:
        return math.ceil(len(self.bot.blocks) / self.batch_size)

    def next_blocks(self) -> torch.Tensor:
        """The blocks of the next step, [batch, block]; the last step is filled up from the front."""
        first = len(self.log.rates) * self.batch_size
        numbers = np.arange(first, first + self.batch_size) % len(self.bot.blocks)
        return torch.from_numpy(self.bot.blocks[numbers])

    def next_rate(self) -> float:
        warmup = math.ceil(self.steps * self.bot.warmup_ratio)
        return learning_rate_at(len(self.log.rates), self.steps, self.bot.learning_rate, self.bot.schedule, warmup)


def train_stack(trainer: StackedTrainer, bots: Iterable[StackedBot], batch_size: int = 1) -> Iterator[StackedResult]:
    """Trains the bots, as many at once as there are slots; yields each when it has ended.

    A bot is what `train_blocks` makes of it with this `batch_size`, up to rounding and dropout's random numbers. Its
    bits depend on the number of slots, but on no other bot. One whose loss is not finite ends alone.
    """
    waiting = iter(bots)
    slots: list[_Slot | None] = [None] * trainer.slots
    while True:
        for number, slot in enumerate(slots):
            if slot is None and (bot := next(waiting, None)):
                trainer.load(number, bot.seed)
                slots[number] = _Slot(bot, batch_size)
        if not any(slots):
            return
        _step(trainer, slots)
        for number, slot in enumerate(slots):
            if slot and len(slot.log.rates) == slot.steps:
                yield _result(slot, trainer.state(number))
                slots[number] = None


def _step(trainer: StackedTrainer, slots: list[_Slot | None]) -> None:
    """One step of all slots; an empty one is idle."""
    given = [slot.next_blocks() if slot else None for slot in slots]
    idle = torch.zeros_like(next(blocks for blocks in given if blocks is not None))
    rates = [slot.next_rate() if slot else 0.0 for slot in slots]
    losses = trainer.step(torch.stack([idle if blocks is None else blocks for blocks in given]), rates)
    for slot, loss, rate in zip(slots, losses, rates, strict=True):
        if slot:
            slot.log.pending.append(loss)
            slot.log.rates.append(rate)
            slot.log.tokens += slot.batch_size * slot.bot.blocks.shape[1]


def _result(slot: _Slot, weights: dict[str, torch.Tensor]) -> StackedResult:
    try:
        slot.log.collect(workers=1)
    except Diverged as error:
        return StackedResult(slot.bot.name, slot.log, weights, error)
    return StackedResult(slot.bot.name, slot.log, weights)
