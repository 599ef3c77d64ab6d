"""What a lane trains a bot on, from the store: its tweets as blocks, what is held out, and where it starts from.

    data = load_training_data(store, task, separator=0, vocabulary=8192)

A bot that continues from its last version (`train.continue`) starts from that version's weights and sees its new
tweets mixed with old ones; see learned_tweets.py.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pipeline.core import model_folder
from pipeline.core.bot_files import Continued, StartedOver
from pipeline.core.errors import one_line
from pipeline.core.store import Store
from pipeline.prepare.kept_tweets import load_tweets
from pipeline.train import packing
from pipeline.train.learned_tweets import (
    LEARNING_RATE_FACTOR,
    MustStartOver,
    SplitTweets,
    learned_file,
    read_learned,
    split_by_learned,
)
from pipeline.train.packing import Tokens
from pipeline.train.tasks import Task

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class TrainingData:
    """What a task trains on, ready for the device."""

    blocks: packing.Blocks
    held_out: np.ndarray  # one stream of tokens, int64 [n]
    learned: bytes  # the file that says which tweets these are
    learning_rate: float  # at its peak
    start: "dict[str, torch.Tensor] | None" = None  # the last version's weights; None: start from the base
    continued: Continued | None = None  # for the metrics, where the bot continues
    started_over: StartedOver | None = None  # for the metrics, where it was to continue and cannot


class BadData(Exception):
    """A bot's data cannot be used; every worker of the lane finds the same."""


class StoreOutage(Exception):
    """The store cannot be reached; every worker of the lane knows."""


def load_training_data(store: Store, task: Task, separator: int, vocabulary: int) -> TrainingData:
    """A task's tweets, packed.

    Raises BadData if they, or the last version, cannot be read or used; StoreOutage if the store is away.
    """
    try:
        people = [load_tweets(store, handle, task.settings.max_tokens) for handle in task.handles]
    except Exception as error:
        if store.is_outage(error):
            raise StoreOutage(one_line(error)) from error
        raise BadData(f"its prepared tweets cannot be read: {one_line(error)}") from error
    started_over: StartedOver | None = None
    if task.previous_version:
        try:
            split = split_by_learned(people, read_learned(store, task.previous_folder))
            return _continued(store, task, split, separator, vocabulary)
        except MustStartOver as reason:
            started_over = {"from": task.previous_version, "reason": str(reason)}
    settings = task.settings
    training = [own for own, _ in people]
    blocks = packing.Blocks(training, separator, settings.block_size, settings.epochs, settings.seed)
    held_out = packing.join([tweet for _, out in people for tweet in out], separator)
    _check_tokens([*training, [held_out]], vocabulary)
    learned = learned_file([tweet for own in training for tweet in own])
    return TrainingData(blocks, held_out, learned, settings.learning_rate, started_over=started_over)


def _continued(store: Store, task: Task, people: list[SplitTweets], separator: int, vocabulary: int) -> TrainingData:
    settings = task.settings
    start = _previous_weights(store, task)
    training = [packing.mix(person.new, person.old, settings.epochs, settings.seed) for person in people]
    blocks = packing.Blocks(training, separator, settings.block_size, epochs=1, seed=settings.seed)
    held_out = packing.join([tweet for person in people for tweet in person.held_out], separator)
    _check_tokens([*training, [held_out]], vocabulary)
    learned = learned_file([tweet for person in people for tweet in (*person.old, *person.new)])
    continued: Continued = {
        "from": task.previous_version,
        "new_tweets": sum(len(person.new) for person in people),
        "old_tweets": sum(len(person.old) for person in people),
    }
    rate = settings.learning_rate * LEARNING_RATE_FACTOR
    return TrainingData(blocks, held_out, learned, rate, start, continued)


def _previous_weights(store: Store, task: Task) -> "dict[str, torch.Tensor]":
    from safetensors.torch import load

    try:
        return load(store.read(f"{task.previous_folder}/{model_folder.WEIGHTS}"))
    except Exception as error:
        raise BadData(f"its last version {task.previous_version} cannot be read: {one_line(error)}") from error


def _check_tokens(parts: Iterable[list[Tokens]], vocabulary: int) -> None:
    """Raises BadData if a token is not one of the base model's: on a GPU that would end the process."""
    for tokens in (np.concatenate(tweets) for tweets in parts if tweets):
        highest = int(tokens.max(initial=0))
        if highest >= vocabulary or tokens.min(initial=0) < 0:
            raise BadData(f"its prepared tweets hold token {highest}; the base model knows {vocabulary}")
