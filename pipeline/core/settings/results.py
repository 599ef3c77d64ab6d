"""The sections `evaluate`, `publish` and `wandb`: how bots are measured, stored and reported."""

from typing import Literal

from pydantic import Field, field_validator

from pipeline.core.names import handle_of, not_a_handle
from pipeline.core.settings.section import Section


class Evaluate(Section):
    """How bots are measured."""

    samples: int = Field(
        64, ge=8, le=1024, description="Texts that each bot writes to be measured by; half of them without a prompt."
    )
    block_list: str | None = Field(
        None, description="A file with a word or phrase a line; the share of texts with one is reported."
    )
    references: Literal["all"] | list[str] = Field(
        [],
        description="People besides those of `bots` from whom voices are told apart, where `bots` is a list: handles, "
        "or `all` in the fleet's files. Their tweets are prepared and kept, too.",
    )

    @field_validator("references")
    @classmethod
    def _references(cls, value: str | list[str]) -> str | list[str]:
        for handle in [] if isinstance(value, str) else value:
            if handle_of(handle) is None:
                raise ValueError(not_a_handle(handle))
        return value if isinstance(value, str) else [str(handle_of(handle)) for handle in value]


class Publish(Section):
    """How bots are stored and published."""

    dtype: Literal["float16", "float32"] = Field("float16", description="Of the stored weights.")
    private: bool = Field(True, description="Whether repositories that `publish --hub` creates are private.")


class Wandb(Section):
    """What is reported to Weights & Biases."""

    mode: Literal["auto", "online", "offline", "disabled"] = Field(
        "auto", description="`auto` is `online` where an API key is set, else `offline`; see [wandb.md](wandb.md)."
    )
    project: str = Field("huggingtweets", description="The W&B project.")
    entity: str | None = Field(None, description="The W&B user or team; `null` is the API key's default.")
    max_runs: int = Field(
        1000, ge=0, description="How many bots get a run of their own; all bots are rows in the fleet's run."
    )
