"""A fleet with its base model and training recipe at hand: what every stage after `prepare` works from.

job = open_job(fleet)

"""

import json
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import ValidationError

from pipeline.core import model_folder
from pipeline.core.errors import UsageError, UserError
from pipeline.core.fleet import Fleet, explain
from pipeline.core.settings import Train
from pipeline.core.store import Store


@dataclass(frozen=True)
class Job:
    """A fleet with its base at hand: what every step needs."""

    fleet: Fleet
    store: Store
    folder: Path  # the base model's
    base: dict[str, bytes]  # the base model's files: they travel to nodes that do not share this disk
    base_hash: str
    train: Train  # the base's defaults with the fleet file's settings on top
    tokenizer: str  # a tokenizer.json

    def without_base(self) -> "Job":
        """The same, light enough to travel with every task; the base's files go through Ray's object store."""
        return replace(self, base={}, tokenizer="")


def open_job(fleet: Fleet) -> Job:
    """Fetches the base model and settles the recipe. Raises UserError where the base cannot be used."""
    folder = model_folder.fetch_base(fleet.base_model)
    base = model_folder.read_files(folder)
    settings = recipe(fleet, base)
    return Job(
        fleet,
        Store.of(fleet),
        folder,
        base,
        model_folder.content_hash(base),
        settings,
        model_folder.tokenizer_json(folder),
    )


def recipe(fleet: Fleet, base: dict[str, bytes]) -> Train:
    """The training settings: the base model's defaults, the fleet file's over them.

    A block is never longer than the base's positions; asking for more, or to freeze more blocks than it has, is a
    UsageError.
    """
    asked = {name: getattr(fleet.train, name) for name in fleet.train.model_fields_set}
    try:
        defaults = json.loads(base.get(model_folder.DEFAULTS, b"{}"))
        settings = Train(**(defaults | asked))
        config = json.loads(base["config.json"])
        longest, blocks = model_folder.positions(config), model_folder.blocks(config)
    except ValidationError as error:
        raise UserError(f"base_model {fleet.base_model}: its {model_folder.DEFAULTS}: {explain(error)}") from None
    except (ValueError, TypeError) as error:
        raise UserError(f"base_model {fleet.base_model}: its settings cannot be read: {error}") from None
    if longest and settings.block_size > longest:
        if "block_size" in asked:
            raise UsageError(f"train.block_size: {settings.block_size} exceeds the base model's {longest} positions")
        settings = settings.model_copy(update={"block_size": longest})
    most = max([settings.freeze_layers, *(one.freeze_layers or 0 for one in settings.overrides)])
    if blocks and most > blocks:
        raise UsageError(f"train.freeze_layers: {most} exceeds the base model's {blocks} blocks")
    return settings
