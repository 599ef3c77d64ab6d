"""The sections `pretrain` and `adapt`: how base models are made, and adapted to the fleet's people."""

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from pipeline.core.settings.section import Section
from pipeline.core.settings.train import Train


class Pretrain(Section):
    """The base model that `pretrain` makes from the fleet's tweets: a GPT-2 with a byte-level BPE tokenizer."""

    out: str = Field("./base", description="The folder or URI that it is written to.")
    vocab_size: int = Field(8192, ge=300, description="Tokens of the tokenizer.")
    n_layer: int = Field(4, ge=1, description="Transformer blocks.")
    n_head: int = Field(4, ge=1, description="Attention heads in a block.")
    n_embd: int = Field(256, ge=8, description="Width of the embeddings; a multiple of `n_head`.")
    block_size: int = Field(256, ge=8, description="Tokens in a training block, and the model's context.")
    epochs: int = Field(4, ge=1, description="How often each text is seen.")
    batch_size: int = Field(8, ge=1, description="Blocks in a step, for each worker.")
    workers: int = Field(2, ge=1, description="Processes that train together.")
    learning_rate: float = Field(2e-3, gt=0, description="The highest learning rate (AdamW).")
    weight_decay: float = Field(0.1, ge=0, description="AdamW's weight decay.")
    warmup_steps: int = Field(100, ge=0, description="Steps in which the learning rate rises from zero.")
    holdout: float = Field(0.02, gt=0, lt=1, description="Share of the texts that is held out, to measure the loss on.")
    checkpoint_minutes: float = Field(5.0, gt=0, description="Minutes between checkpoints.")
    precision: Literal["auto", "fp32", "bf16"] = Field("auto", description="As in `train`.")
    seed: int = Field(0, ge=0, lt=2**32, description="Of the first weights and of shuffling.")
    train_defaults: dict[str, Any] = Field({}, description="`train` settings that bots on this base model start from.")

    @field_validator("train_defaults")
    @classmethod
    def _defaults(cls, value: dict[str, Any]) -> dict[str, Any]:
        Train.model_validate(value)
        return value


class Adapt(Section):
    """Adapts the base model to everybody's tweets before any bot is trained. `adapt: true` is a section of defaults."""

    epochs: int = Field(1, ge=1, description="How often each tweet is seen.")
    learning_rate: float = Field(5e-4, gt=0, allow_inf_nan=False, description="The highest learning rate (AdamW).")
    batch_size: int = Field(8, ge=1, description="Blocks in a step, for each worker.")
    workers: Literal["auto"] | Annotated[int, Field(ge=1)] = Field(
        "auto", description="Processes that train together; `auto` is one on every GPU, or on every core."
    )
    warmup_steps: int = Field(20, ge=0, description="Steps in which the learning rate rises from zero.")
    holdout: float = Field(
        0.1, gt=0, lt=1, description="Share of the people whose tweets are held out, to measure the loss on."
    )
    checkpoint_minutes: float = Field(5.0, gt=0, description="Minutes between checkpoints.")
