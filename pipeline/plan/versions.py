"""The name of a bot's version: a hash of what makes its model.

    version(job, people)            # "0123456789ab"

It takes in the kept tweets, the base model's content, the settings that shape training and the recipe's number; where
a bot continues from an earlier version, that version's name too. Same inputs, same version, no work done again.
"""

import hashlib
import json
from typing import Any

from pipeline.core.names import bot_name
from pipeline.core.settings import Train
from pipeline.plan.job import Job
from pipeline.prepare.index import Person

RECIPE = 1  # raise it when training would give another model from the same inputs
SHAPING = {"epochs", "learning_rate", "batch_size", "block_size", "holdout", "precision", "seed"}
OPTIONS = {"freeze_layers", "lora", "schedule", "warmup_ratio"}  # they shape it too, where they are not the default


def version(job: Job, people: list[Person], last: str = "") -> str:
    """The version of a bot of these people: 12 hex digits. `last`: the version that it goes on from."""
    settings = job.train.of(bot_name([person.handle for person in people]), sum(person.tokens for person in people))
    recipe = shaping(settings.model_dump())
    made_of = [[person.digest for person in people], job.base.content_hash, recipe, job.fleet.publish.dtype, RECIPE]
    made_of += [last] if last else []
    return hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()[:12]


def shaping(settings: dict[str, Any]) -> dict[str, Any]:
    """Of `train` settings those that shape the model."""
    options = {key for key in OPTIONS if settings.get(key) not in (None, Train.model_fields[key].default)}
    return {key: value for key, value in settings.items() if key in SHAPING | options}
