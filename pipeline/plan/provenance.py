"""How a bot was made: base model, tweets, settings, versions of libraries, and the loss of every step.

    content = record({"name": "mini", "hash": "d0a1"}, {"nasa": "3f2a"}, Train(), losses=[5.1, 4.7], rates=[1e-3, 5e-4])
    read(store, "nasa", "0123456789ab")     # from provenance.json in the bot's folder

A lane writes it beside the weights, and publishing copies it into the bot's folder. W&B's runs and the plots are made
from it later, so training reports nothing while it runs.
"""

import json
import time
from collections.abc import Sequence
from functools import cache
from importlib import metadata
from typing import Any, NotRequired, TypedDict, cast

from pipeline.core.settings import Train
from pipeline.core.store import Store

FILE = "provenance.json"
_LIBRARIES = ("deepspeed", "huggingtweets-ray", "ray", "torch", "transformers")


class Provenance(TypedDict):
    """The content of provenance.json."""

    base_model: dict[str, str]  # `name`, as in the fleet file, and `hash`, of its content
    tweets: dict[str, str]  # a hash of each person's kept tweets, by handle
    settings: dict[str, Any]  # the bot's `train` settings
    libraries: dict[str, str]  # versions, by name
    finished: str  # UTC, 2026-01-31T23:59:59Z
    losses: list[float]  # of each step, in nats per token
    learning_rates: list[float]  # of each step
    last_version: NotRequired[str]  # the version that it continues from


def record(
    base_model: dict[str, str],
    digests: dict[str, str],
    settings: Train,
    losses: Sequence[float],
    rates: Sequence[float],
    parent: str = "",
) -> bytes:
    """Returns the content of provenance.json for a bot whose training has just ended; see `Provenance`.

    `digests` are the hashes of the people's tweets, `rates` the learning rates, `parent` is the version that the bot
    was to continue from.
    """
    content: Provenance = {
        "base_model": base_model,
        "tweets": digests,
        "settings": settings.model_dump(),
        "libraries": _libraries(),
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "losses": [float(f"{loss:.6g}") for loss in losses],
        "learning_rates": [float(f"{rate:.6g}") for rate in rates],
    }
    if parent:
        content["last_version"] = parent
    return json.dumps(content).encode()


def read(store: Store, bot: str, version: str) -> Provenance | None:
    """Returns the provenance of a published version, or None if it has none that can be read."""
    content = store.read_json(f"bots/{bot}/{version}/{FILE}")
    complete = content.keys() >= Provenance.__required_keys__ and isinstance(content["settings"], dict)
    return cast(Provenance, content) if complete and "hash" in content["base_model"] else None


@cache
def _libraries() -> dict[str, str]:
    return {name: metadata.version(name) for name in _LIBRARIES}
