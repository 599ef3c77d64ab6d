"""A fleet together with its base model, its training recipe and its store: what all stages work from.

job = open_job(load("fleet.yaml"))
job.train.block_size, job.base.content_hash
"""

import json
from dataclasses import dataclass

from pydantic import ValidationError

from pipeline.core.errors import UsageError, UserError
from pipeline.core.fleet import Fleet, explain
from pipeline.core.model_folder import DEFAULTS, ModelFolder, blocks, fetch_base, positions, tensors
from pipeline.core.settings import Train
from pipeline.core.store import Store


@dataclass(frozen=True)
class Job:
    """What the stages of a command work from. Tasks receive it as an object reference: it holds the base's weights."""

    fleet: Fleet
    store: Store
    base: ModelFolder
    train: Train  # the base model's defaults with the fleet file's settings on top


def open_job(fleet: Fleet) -> Job:
    """Fetches a fleet's base model and derives the recipe. Raises UserError if the base cannot be used."""
    base = ModelFolder.read(fetch_base(fleet.base_model))
    return Job(fleet, Store.of(fleet), base, recipe(fleet, base))


def recipe(fleet: Fleet, base: ModelFolder) -> Train:
    """Returns the training settings: those in the fleet file, and for the others the base model's defaults.

    `block_size` is reduced to the base model's context where the fleet file does not set it. Raises UsageError for a
    larger `block_size` than that, or for freezing more blocks than the base has; UserError if the base's settings are
    broken.
    """
    given = {name: getattr(fleet.train, name) for name in fleet.train.model_fields_set}
    try:
        settings = Train(**(json.loads(base.files.get(DEFAULTS, b"{}")) | given))
        longest, layers = positions(base.config), blocks(base.config)
    except ValidationError as error:
        raise UserError(f"base_model {fleet.base_model}: its {DEFAULTS}: {explain(error)}") from None
    except (ValueError, TypeError) as error:
        raise UserError(f"base_model {fleet.base_model}: its settings cannot be read: {error}") from None
    held = tensors(base)
    if layers and held is not None and layers > held:
        raise UserError(
            f"base_model {fleet.base_model}: config.json has {layers:,} blocks, its weights {held:,} tensors"
        )
    if longest and settings.block_size > longest:
        if "block_size" in given:
            raise UsageError(f"train.block_size: {settings.block_size} exceeds the base model's {longest} positions")
        settings = settings.model_copy(update={"block_size": longest})
    frozen = max([settings.freeze_layers, *(override.freeze_layers or 0 for override in settings.overrides)])
    if layers and frozen > layers:
        raise UsageError(f"train.freeze_layers: {frozen} exceeds the base model's {layers} blocks")
    return settings
