"""The settings of a fleet that are in force, and where each comes from: what `huggingtweets show fleet.yaml` does.

for setting in in_force(fleet, ["train.epochs=2"]): print(setting.key, setting.value, setting.origin)
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from pipeline.core.fleet import Fleet
from pipeline.plan.job import open_job


@dataclass(frozen=True)
class Setting:
    """One key of the fleet file, such as train.epochs; `origin` is --set, fleet file, base model or default."""

    key: str
    value: Any
    origin: str


def in_force(fleet: Fleet, overrides: list[str]) -> list[Setting]:
    """All settings of a fleet that was loaded with these `--set` entries. Opens the base model for its defaults."""
    overridden = [entry.partition("=")[0] for entry in overrides]
    train = open_job(fleet).train  # the base model's defaults with the fleet file's settings on top
    effective = {setting.key: setting.value for setting in _settings(train, "train.", [])}
    return [
        Setting(setting.key, effective[setting.key], "base model")
        if setting.origin == "default" and effective.get(setting.key, setting.value) != setting.value
        else setting
        for setting in _settings(fleet, "", overridden)
    ]


def _settings(section: BaseModel, prefix: str, overridden: list[str]) -> Iterator[Setting]:
    values = section.model_dump(mode="json")
    for name, field in type(section).model_fields.items():
        key, value = prefix + (field.alias or name), getattr(section, name)
        if isinstance(value, BaseModel):
            yield from _settings(value, f"{key}.", overridden)
            continue
        given = name in section.model_fields_set
        by_option = any(key == one or key.startswith(f"{one}.") or one.startswith(f"{key}.") for one in overridden)
        origin = "--set" if given and by_option else "fleet file" if given else "default"
        yield Setting(key, values[field.alias or name], origin)
