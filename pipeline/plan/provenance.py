"""How a bot came to be: base model, tweets, settings, library versions and the loss curve, beside its weights.

    files[FILE] = record(base_model, digests, settings, losses, rates)

A lane writes it with the model, publishing carries it into the bot's folder: whatever tells of the training
later (W&B's runs, a plot) reads it there, so nothing needs to listen while a bot trains.
"""

import json
import time
from collections.abc import Sequence
from functools import cache
from importlib import metadata
from typing import Any

from pipeline.core.settings import Train

FILE = "provenance.json"
_LIBRARIES = ("deepspeed", "huggingtweets-ray", "ray", "torch", "transformers")


def record(
    base_model: dict[str, str],
    digests: dict[str, str],
    settings: Train,
    losses: Sequence[float],
    rates: Sequence[float],
    last_version: str = "",
) -> bytes:
    """The file's content; `losses` and `rates` (learning rates) have one entry for each step.

    `base_model` holds the base's name and its content's hash, `digests` a hash of each person's kept tweets.
    `last_version`: that the bot was to go on from.
    """
    content: dict[str, Any] = {
        "base_model": base_model,
        "tweets": digests,
        "settings": settings.model_dump(),
        "libraries": _libraries(),
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "losses": [float(f"{loss:.6g}") for loss in losses],
        "learning_rates": [float(f"{rate:.6g}") for rate in rates],
    }
    if last_version:
        content["last_version"] = last_version
    return json.dumps(content).encode()


@cache
def _libraries() -> dict[str, str]:
    return {name: metadata.version(name) for name in _LIBRARIES}
