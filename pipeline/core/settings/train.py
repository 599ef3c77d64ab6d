"""The sections `train` and `sweep`: how bots are trained, and which recipes `sweep` compares."""

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from pipeline.core.names import bot_name, handle_of, not_a_handle
from pipeline.core.settings.section import Section

Schedule = Literal["cosine", "linear", "constant"]


class Lora(Section):
    """Low-rank adaptation: small matrices are trained beside the base's weights, and added to them when published."""

    rank: int = Field(8, ge=1, description="Rank of the matrices.")
    alpha: float = Field(16.0, gt=0, description="Scale: the matrices' product is multiplied by `alpha / rank`.")
    dropout: float = Field(0.0, ge=0, lt=1, description="Dropout of the matrices' input in training.")
    targets: Annotated[list[str], Field(min_length=1)] | None = Field(
        None, description="Names of the layers that get matrices, for instance `[c_attn]`; `null` is all linear layers."
    )


class Override(Section):
    """`train` settings for some of the bots: those that are named, or those with much text."""

    bots: list[str | list[str]] | None = Field(
        None, description="The bots, as in the fleet's `bots`: an inner list is a blend."
    )
    min_tokens: int | None = Field(
        None,
        ge=1,
        description="Bots with at least so many training tokens in an epoch. With `bots`, both must be true.",
    )
    epochs: int | None = Field(None, ge=1, description="See `train`.")
    learning_rate: float | None = Field(None, gt=0, allow_inf_nan=False, description="See `train`.")
    schedule: Schedule | None = Field(None, description="See `train`.")
    warmup_ratio: float | None = Field(None, ge=0, lt=1, description="See `train`.")
    batch_size: int | None = Field(None, ge=1, description="See `train`.")
    workers_per_bot: int | None = Field(None, ge=1, description="See `train`.")
    gpus_per_worker: float | None = Field(None, gt=0, description="See `train`.")
    zero_stage: Literal["auto", 0, 1, 2, 3] | None = Field(None, description="See `train`.")
    precision: Literal["auto", "fp32", "bf16"] | None = Field(None, description="See `train`.")
    gradient_checkpointing: bool | None = Field(None, description="See `train`.")
    compile: bool | None = Field(None, description="See `train`.")
    freeze_layers: int | None = Field(None, ge=0, description="See `train`.")
    lora: Lora | None = Field(None, description="See `train`.")
    seed: int | None = Field(None, ge=0, lt=2**32, description="See `train`.")

    @model_validator(mode="after")
    def _bots_and_settings_given(self) -> "Override":
        if self.bots is None and self.min_tokens is None:
            raise ValueError("name its bots, for instance bots: [nasa] or min_tokens: 1_000_000")
        if not self.settings:
            raise ValueError("it changes no setting; add one, for instance workers_per_bot: 2")
        return self

    @field_validator("bots")
    @classmethod
    def _names(cls, value: list[str | list[str]] | None) -> list[str | list[str]] | None:
        for handle in [one for entry in value or [] for one in ([entry] if isinstance(entry, str) else entry)]:
            if handle_of(handle) is None:
                raise ValueError(not_a_handle(handle))
        names = [[entry] if isinstance(entry, str) else entry for entry in value or []]
        return value and [bot_name([handle_of(one) or one for one in entry]) for entry in names]

    def applies(self, bot: str, tokens: int) -> bool:
        """Whether these settings are for a bot with this name and so many training tokens in an epoch."""
        return (self.bots is None or bot in self.bots) and (self.min_tokens is None or tokens >= self.min_tokens)

    @property
    def settings(self) -> dict[str, Any]:
        """The `train` settings that are changed, by name."""
        return {name: value for name, value in self if value is not None and name not in ("bots", "min_tokens")}


class Train(Section):
    """How bots are trained, and on how many lanes. The defaults are the original huggingtweets' recipe."""

    epochs: int = Field(4, ge=1, description="How often each training tweet is seen.")
    learning_rate: float = Field(1.372e-4, gt=0, allow_inf_nan=False, description="The highest learning rate (AdamW).")
    schedule: Schedule = Field(
        "cosine", description="How the learning rate falls to zero over all steps; `constant` does not."
    )
    warmup_ratio: float = Field(
        0.0, ge=0, lt=1, description="Share of the steps in which the learning rate rises from zero, before it falls."
    )
    batch_size: int = Field(1, ge=1, description="Blocks in a step, for each worker.")
    max_tokens: int | None = Field(
        None,
        ge=1000,
        description="Of one person no more than so many tokens are trained on in an epoch, and no more are held out: "
        "always the same of their tweets. For people with millions of tweets, whose epoch would fill the memory.",
    )
    block_size: int = Field(
        1024, ge=8, description="Tokens in a block. Where it is not set, no more than the base model's context."
    )
    holdout: float = Field(
        0.1, gt=0, lt=1, description="Share of each person's kept tweets that is held out, to measure the loss on."
    )
    lanes: Literal["auto"] | Annotated[int, Field(ge=1)] = Field(
        "auto",
        description="How many bots are trained at once, at most; `auto` uses every free GPU, or every free core.",
    )
    workers_per_bot: int = Field(1, ge=1, description="Processes that train one bot together.")
    gpus_per_worker: float = Field(
        1.0, gt=0, description="GPUs of a worker, on clusters that have them; 0.25 puts four lanes on one GPU."
    )
    zero_stage: Literal["auto", 0, 1, 2, 3] = Field(
        "auto",
        description="DeepSpeed's ZeRO stage: how much of the state the workers of a bot share out to save memory. "
        "`auto` is 0 where weights, gradients and AdamW's state fit into the GPU, else 3.",
    )
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto", description="Of the arithmetic; `auto` is bf16 on GPUs that support it, fp32 elsewhere."
    )
    seed: int = Field(0, ge=0, lt=2**32, description="Of shuffling and dropout: the same seed trains the same model.")
    freeze_layers: int = Field(
        0, ge=0, description="Above 0, the embeddings and so many first blocks keep the base's weights."
    )
    lora: Lora | None = Field(
        None,
        description="Train low-rank matrices instead of the weights; `{}` is a section of defaults. Needs a higher "
        "learning rate, about ten times.",
    )
    continue_: bool = Field(
        False,
        alias="continue",
        description="Where only tweets were added, continue from the bot's last version, with some of the old tweets "
        "mixed in; otherwise start over.",
    )
    retries: int = Field(1, ge=0, description="How often a bot that failed is trained again.")
    checkpoint_minutes: float = Field(
        5.0, gt=0, description="Minutes between checkpoints, from which the training of a large bot is resumed."
    )
    stall_minutes: float = Field(
        30.0,
        gt=0,
        description="Minutes without a training step after which a bot's lane is ended and the bot is trained in "
        "another one.",
    )
    gradient_checkpointing: bool = Field(
        False, description="Compute activations twice to save memory: about a third more arithmetic."
    )
    compile: bool = Field(
        False, description="Use torch.compile: faster steps, after up to a minute at the start of each lane."
    )
    record_first: bool = Field(
        False,
        description="On a GPU, record the step as a CUDA graph before a lane's first bot, and give GPT-2's attention "
        "no mask, so that the first bot is computed as the later ones are. Not measured on a GPU yet.",
    )
    overrides: list[Override] = Field([], description="Other settings for some of the bots; the last entry wins.")

    @model_validator(mode="after")
    def _continued(self) -> "Train":
        if self.continue_ and self.max_tokens:
            raise ValueError("max_tokens: a bot that continues from its last version needs all its tweets (continue)")
        return self

    @model_validator(mode="after")
    def _gpus(self) -> "Train":
        for workers, gpus in [(self.workers_per_bot, self.gpus_per_worker)] + [
            (one.workers_per_bot or self.workers_per_bot, one.gpus_per_worker or self.gpus_per_worker)
            for one in self.overrides
        ]:
            if gpus > 1 and gpus % 1:
                raise ValueError(f"gpus_per_worker {gpus:g}: above 1 it is a whole number of GPUs")
            if workers > 1 and gpus < 1:
                raise ValueError(
                    f"gpus_per_worker {gpus:g} with workers_per_bot {workers}: workers that train one bot together "
                    "need a GPU each"
                )
        return self

    def of(self, bot: str, tokens: int) -> "Train":
        """Returns the settings of one bot, overrides applied. `tokens`: its training tokens in an epoch.

        A bot that `max_tokens` does not limit has no such setting, so that its version is not another one.
        """
        update: dict[str, Any] = {}
        if self.max_tokens and tokens <= self.max_tokens:
            update["max_tokens"] = None
        for override in self.overrides:
            if override.applies(bot, tokens):
                update |= override.settings
        if not update and not self.overrides:
            return self  # the bots of a fleet share one object, in memory and on its way to the queue
        return self.model_copy(update=update | {"overrides": []})


class Sweep(Section):
    """The recipes that `sweep` compares: all combinations of these lists. An empty list keeps `train`'s value."""

    bots: int = Field(3, ge=1, description="How many bots are trained with each recipe, small to large.")
    epochs: list[Annotated[int, Field(ge=1)]] = Field([2, 4, 8], description="Values of `train.epochs`.")
    learning_rate: list[Annotated[float, Field(gt=0, allow_inf_nan=False)]] = Field(
        [], description="Values of `train.learning_rate`."
    )
    batch_size: list[Annotated[int, Field(ge=1)]] = Field([], description="Values of `train.batch_size`.")
    schedule: list[Schedule] = Field([], description="Values of `train.schedule`.")
    warmup_ratio: list[Annotated[float, Field(ge=0, lt=1)]] = Field([], description="Values of `train.warmup_ratio`.")
