"""What a lane trains a bot on, from the store: its tweets as blocks, what is held out, and where it starts from.

    data = load(store, task, separator=0, vocabulary=8192)

A bot that goes on from its last version (`train.continue`) starts from that one's weights and sees its new tweets
with some of the old ones between them; see continuing.py.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pipeline.core import model_folder
from pipeline.core.errors import one_line
from pipeline.core.store import Store
from pipeline.prepare.kept_tweets import load_tweets
from pipeline.train import packing
from pipeline.train.continuing import RATE, Part, StartsOver, learned, learned_file, parted
from pipeline.train.queue import Task


@dataclass
class Data:
    """What a task trains on, ready for the device."""

    blocks: np.ndarray  # int64 [n, block]
    held_out: np.ndarray  # int64 [tokens]
    learned: bytes  # the file that says which tweets these are
    learning_rate: float  # at its peak
    start: dict[str, Any] | None = None  # weights to start from in place of the base's
    told: dict[str, Any] = field(default_factory=dict)  # for the metrics: how the bot goes on, or why not


class BadData(Exception):
    """A bot's tweets cannot be trained on: every worker of the lane finds the same."""


def load(store: Store, task: Task, separator: int, vocabulary: int) -> Data:
    """A task's tweets, packed. Raises BadData."""
    settings = task.settings
    try:
        people = [load_tweets(store, handle) for handle in task.handles]
    except Exception as error:
        raise BadData(f"its prepared tweets cannot be read: {one_line(error)}") from error
    start, told, training = None, {}, [person[0] for person in people]
    epochs, rate = settings.epochs, settings.learning_rate
    if task.last:
        try:
            parts = parted(people, learned(store, task.last_folder))
            start, told = _start(store, task), {"continued": _told(task, parts)}
            people = [(part.old + part.new, part.held_out) for part in parts]
            training = [packing.mixed(part.new, part.old, epochs, settings.seed) for part in parts]
            epochs, rate = 1, rate * RATE
        except StartsOver as reason:
            told = {"started_over": {"from": task.last, "reason": str(reason)}}
    blocks = packing.packed(training, separator, settings.block_size, epochs, settings.seed)
    held_out = packing.joined([tweet for _, out in people for tweet in out], separator)
    highest = int(max(blocks.max(), held_out.max()))
    if highest >= vocabulary or min(blocks.min(), held_out.min()) < 0:
        raise BadData(f"its prepared tweets hold token {highest}; the base model knows {vocabulary}")
    return Data(blocks, held_out, learned_file([tweet for own, _ in people for tweet in own]), rate, start, told)


def _start(store: Store, task: Task) -> dict[str, Any]:
    """The last version's weights."""
    from safetensors.torch import load

    try:
        return load(store.read(f"{task.last_folder}/{model_folder.WEIGHTS}"))
    except Exception as error:
        raise BadData(f"its last version {task.last} cannot be read: {one_line(error)}") from error


def _told(task: Task, parts: list[Part]) -> dict[str, Any]:
    new, old = (sum(len(tweets) for tweets in lists) for lists in zip(*((p.new, p.old) for p in parts), strict=True))
    return {"from": task.last, "new_tweets": new, "old_tweets": old}
