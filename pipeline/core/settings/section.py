"""What all sections of a fleet file have in common."""

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A section of the fleet file: unknown keys are errors, and its values cannot be changed."""

    # aliases are for keys that are Python keywords (`continue`)
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, serialize_by_alias=True)
