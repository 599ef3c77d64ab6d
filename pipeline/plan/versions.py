"""The name of a bot's version: a hash of everything that shapes its model.

    version(job, [person])          # "0123456789ab"

That is the kept tweets, the content of the base model, the settings that shape training, and the number of the recipe;
for a bot that continues from an earlier version, also that version's name. The same inputs give the same version, so
nothing is trained twice.
"""

import hashlib
import json
from typing import Any

from pipeline.core.names import bot_name
from pipeline.core.settings import Train
from pipeline.plan.job import Job
from pipeline.prepare.index import Person

RECIPE = 1  # to be raised when the same inputs would give another model
_ALWAYS = {"epochs", "learning_rate", "batch_size", "block_size", "holdout", "precision", "seed"}
# settings that were added later: they count only where they differ from the default, so that older versions stay valid
_UNLESS_DEFAULT = {
    name: Train.model_fields[name].default
    for name in ("freeze_layers", "lora", "schedule", "warmup_ratio", "max_tokens")
}


def version(job: Job, people: list[Person], parent: str = "") -> str:
    """Returns the version, 12 hexadecimal digits, of a bot of these people. `parent`: what it continues from."""
    settings = job.train.of(bot_name([person.handle for person in people]), sum(person.tokens for person in people))
    recipe = shaping(settings.model_dump())
    made_of = [[person.digest for person in people], job.base.content_hash, recipe, job.fleet.publish.dtype, RECIPE]
    made_of += [parent] if parent else []
    return hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()[:12]


def shaping(settings: dict[str, Any]) -> dict[str, Any]:
    """Returns the `train` settings that shape the model, of all of them (`Train.model_dump()`), by name."""
    counted = _ALWAYS | {key for key, default in _UNLESS_DEFAULT.items() if settings.get(key) not in (None, default)}
    return {key: value for key, value in settings.items() if key in counted}
