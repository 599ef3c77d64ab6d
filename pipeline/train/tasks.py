"""What a fleet's queue gives out: a task for each bot, its result, and the order in which tasks wait. Plain Python.

    waiting = WaitingTasks(tasks)
    waiting.counts()                        # {kind: number of tasks}, the kind of the largest bot first
    waiting.remove("nasa")

A task's *kind* is the settings that its lane must be set up with.
"""

import json
from bisect import bisect_left, insort
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from functools import cached_property

from pipeline.core.bot_files import Metrics
from pipeline.core.settings import Train

RESULT_FILE = "training.json"  # in a trained bot's folder: its TrainedBot
# settings that a lane is set up with; a lane trains only bots that agree in them
_LANE_SETTINGS = {"workers_per_bot", "gpus_per_worker", "zero_stage", "precision", "gradient_checkpointing", "compile"}
_LANE_SETTINGS |= {"freeze_layers", "lora"}


@dataclass
class Task:
    """One bot's training. The queue keeps it, and lanes get copies."""

    bot: str
    handles: list[str]
    folder: str  # in the store: where the model goes
    version: str
    epoch_tokens: int
    settings: Train
    digests: dict[str, str] = field(default_factory=dict)  # a hash of each person's tweets, by handle
    previous_version: str = ""  # to continue from; empty: start from the base
    has_checkpoint: bool = False  # whether there may be one
    micro_batches: int = 1  # parts of each batch; doubled where memory ran out
    rate_factor: float = 1.0  # of the recipe's learning rate; LOWERED after the training diverged
    failures: int = 0
    outages: int = 0  # of the store while it was in hand
    deaths: int = 0  # of workers that were training it
    progress_at: float = 0.0  # a time.monotonic(): when it was given out, or when its last step was reported
    lane: str = ""  # that has it in hand
    failed_in: str | None = None  # the place of its last failure: a node, or a lane where its node is not known

    @cached_property
    def kind(self) -> str:
        """The kind of its lane."""
        return lane_kind(self.settings)

    @property
    def total_tokens(self) -> int:
        """Tokens to train on, over all epochs."""
        return self.epoch_tokens * self.settings.epochs

    @property
    def previous_folder(self) -> str:
        """The folder of the version to continue from, in the store."""
        return f"bots/{self.bot}/{self.previous_version}"


def lane_kind(settings: Train) -> str:
    """The settings that a lane must be set up with to train a bot with these settings, as JSON."""
    return json.dumps(settings.model_dump(include=_LANE_SETTINGS), sort_keys=True)


def with_less_memory(settings: Train) -> Train:
    """The settings for a bot that does not fit into memory even block by block."""
    return settings.model_copy(update={"gradient_checkpointing": True})


@dataclass(frozen=True)
class TrainedBot:
    """What a lane reports of a bot whose model is in the store; also the content of `RESULT_FILE`."""

    metrics: Metrics
    seconds: float  # of training, held-out losses included
    handover: float = 0.0  # seconds from the lane's last bot to this one

    def to_json(self) -> bytes:
        """The content of `RESULT_FILE`."""
        return json.dumps(asdict(self)).encode()


@dataclass(frozen=True)
class FailedBot:
    """Why a bot was given up."""

    reason: str
    log: str = ""  # the last lines of the traceback


class WaitingTasks:
    """Tasks in the order in which they are given out: by kind, the bot with the most tokens first.

    Bots whose workers died twice come last, so that one that kills its workers holds up no others.
    """

    def __init__(self, tasks: Iterable[Task]):
        self.by_kind: dict[str, list[Task]] = {}
        self.by_bot: dict[str, Task] = {}
        self.total_tokens = 0
        for task in sorted(tasks, key=_order):
            self.by_kind.setdefault(task.kind, []).append(task)
            self.by_bot[task.bot] = task
            self.total_tokens += task.total_tokens

    def add(self, task: Task) -> None:
        """Puts a task in its place."""
        insort(self.by_kind.setdefault(task.kind, []), task, key=_order)
        self.by_bot[task.bot] = task
        self.total_tokens += task.total_tokens

    def remove(self, bot: str) -> Task | None:
        """Takes a bot's task out; None if it does not wait."""
        task = self.by_bot.pop(bot, None)
        if task is not None:
            tasks = self.by_kind[task.kind]
            del tasks[bisect_left(tasks, _order(task), key=_order)]
            self.total_tokens -= task.total_tokens
        return task

    def counts(self) -> dict[str, int]:
        """How many tasks of each kind wait, the kind of the largest bot first."""
        kinds = [kind for kind, tasks in self.by_kind.items() if tasks]
        return {kind: len(self.by_kind[kind]) for kind in sorted(kinds, key=lambda k: _order(self.by_kind[k][0]))}


def _order(task: Task) -> tuple[bool, int, str]:
    return task.deaths > 1, -task.total_tokens, task.bot
