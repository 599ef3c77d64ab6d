"""The sections of a fleet file, one class each, with the default, the limits and a description of every key.

    Train(epochs=2).learning_rate               # 0.0001372
    Fleet.model_fields["storage"].description   # (pipeline/core/fleet.py puts the sections together)

docs/settings.md is made from these classes.
"""

from datetime import date
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from pipeline.core.names import bot_name, handle_of, not_a_handle


class Section(BaseModel):
    """A section of the fleet file: unknown keys are errors, and its values cannot be changed."""

    # aliases are for keys that are Python keywords (`continue`)
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, serialize_by_alias=True)


Schedule = Literal["cosine", "linear", "constant"]
TweetField = Literal["text", "id", "handle", "created_at", "lang", "likes", "retweet", "reply", "quote"]


class TweetSource(Section):
    """Where tweets are. An entry of `tweets` is a path, or a section with these keys."""

    path: str = Field(description="A file, folder, glob or URI, for instance `s3://bucket/tweets/*.csv`.")
    handle: str | None = Field(None, description="Who wrote the tweets, if the file does not say so.")
    columns: dict[TweetField, str | None] = Field(
        {},
        description="Names of the file's columns that are not found by themselves, by our field: `{text: body}`; their "
        "numbers, from 0, where a table has no header: `{handle: 4, text: 5}` or `{4: handle, 5: text}`. "
        "`null` ignores a column that would be found by its usual name.",
    )
    users: str | None = Field(
        None, description="A table of accounts in the same storage, for tweets that have only the author's id."
    )
    repair: bool = Field(False, description="Repair text that was once decoded with the wrong encoding (mojibake).")
    consent: Literal["own"] | None = Field(
        None,
        description="`own`: the posts are yours, or their authors agreed to you; a published wish not to be used for "
        "AI training does not count.",
    )

    @field_validator("columns", mode="before")
    @classmethod
    def _numbers(cls, value: Any) -> Any:
        """Columns by their numbers, in either order, as texts by our field."""
        if not isinstance(value, dict):
            return value
        pairs = [(theirs, ours) if isinstance(ours, int) else (ours, theirs) for ours, theirs in value.items()]
        return {ours: str(theirs) if type(theirs) is int else theirs for ours, theirs in pairs}

    @field_validator("handle")
    @classmethod
    def _handle(cls, value: str | None) -> str | None:
        if value is not None and handle_of(value) is None:
            raise ValueError(not_a_handle(value))
        return handle_of(value) if value else None


class Accounts(Section):
    """The accounts of one person, and whether they agreed."""

    accounts: list[str] = Field(
        min_length=1, description="The person's accounts: ada_x, ada.bsky.social, @ada@ferry.example."
    )
    consent: Literal["own"] | None = Field(
        None,
        description="`own`: the accounts are yours or their owner agreed; a published wish not to be used for AI "
        "training does not count.",
    )

    @field_validator("accounts")
    @classmethod
    def _accounts(cls, value: list[str]) -> list[str]:
        for account in value:
            if handle_of(account) is None:
                raise ValueError(not_a_handle(account))
        return [str(handle_of(account)) for account in value]


class Filters(Section):
    """Which tweets are left out besides retweets and short tweets. Each filter has its own row in the counts.

    `since` and `until` leave out tweets without a date, `min_likes` those without a number of likes.
    """

    since: date | None = Field(None, description="Leave out tweets from before this day (UTC).")
    until: date | None = Field(None, description="Leave out tweets from after this day (UTC).")
    min_likes: int | None = Field(None, ge=0, description="Leave out tweets with fewer likes.")
    replies: bool = Field(
        True, description="`false` leaves out replies; where the file does not say, text that starts with `@`."
    )
    quotes: bool = Field(True, description="`false` leaves out tweets that quote another.")
    blocked_words: Annotated[list[str], Field(min_length=1)] | str | None = Field(
        None,
        description="Leave out tweets with one of these words or phrases, in upper or lower case: a list, or the path "
        "of a text file with one a line.",
    )
    private: bool = Field(
        False,
        description="Leave out tweets with an e-mail address, a phone number, a password or a key, which a bot could "
        "repeat.",
    )
    languages: Annotated[list[str], Field(min_length=1)] | None = Field(
        None,
        description="Keep these languages only (ISO 639-1 codes, for instance `[en, fr]`). Where the file does not "
        "say, the language is detected; tweets whose language is uncertain are kept.",
    )
    duplicates: bool = Field(True, description="`false` keeps one of a person's tweets with the same text.")
    near_duplicates: float | None = Field(
        None,
        gt=0,
        le=1,
        description="Keep one of a person's tweets that are this similar: the Jaccard similarity of their three-word "
        "sequences, estimated by MinHash. For instance 0.8.",
    )
    mentions: str | None = Field(
        None, description='Replaces each mention in a kept tweet, for instance by `"@user"`; `""` removes it.'
    )


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
    overrides: list[Override] = Field([], description="Other settings for some of the bots; the last entry wins.")

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
        """Returns the settings of one bot, overrides applied. `tokens`: its training tokens in an epoch."""
        update: dict[str, Any] = {}
        for override in self.overrides:
            if override.applies(bot, tokens):
                update |= override.settings
        return self.model_copy(update=update | {"overrides": []})


class Serve(Section):
    """How bots are served."""

    endpoint: Literal["dedicated", "pooled", "auto"] = Field(
        "dedicated",
        description="`dedicated`: every bot has replicas of its own; `pooled`: a pool of workers answers for all bots; "
        "`auto`: pooled, and replicas of its own for a bot while it is busy.",
    )
    min_replicas: int = Field(
        0, ge=0, description="Replicas of a bot that always run; 0 lets it sleep. A pool keeps at least one worker."
    )
    max_replicas: int = Field(4, ge=1, description="Replicas of a bot, or workers of the pool, at most.")
    target_ongoing_requests: int = Field(
        8, ge=1, description="Concurrent requests that one replica should have; more start another replica."
    )
    host: str = Field("127.0.0.1", description="Address that HTTP listens on; `0.0.0.0` is reachable from outside.")
    port: int = Field(8000, ge=1, le=65535, description="Port that HTTP listens on.")
    keys_file: str | None = Field(
        None,
        description="A file with one API key a line; the environment variable HUGGINGTWEETS_KEYS adds more. Without "
        "any key, requests need none.",
    )
    requests_per_minute: int | None = Field(
        None,
        ge=1,
        description="Requests a minute that one key may make. Each 160 tokens of an answer count as a request; files "
        "of the page do not.",
    )
    cors_origins: list[str] = Field(
        [], description="Origins whose web pages may call the bots, for instance `https://example.org`."
    )
    contact: str | None = Field(
        None,
        pattern=r"^(https?://|mailto:)[^\s\"<>]+$",
        max_length=300,
        description="Where people report a bot or ask to be taken out, shown on its page: `mailto:ada@ferry.example` "
        "or a web address.",
    )
    search_engines: bool = Field(
        False, description="Search engines may list the bots' pages. Otherwise all pages forbid it."
    )
    cpus_per_replica: float = Field(0.1, gt=0, description="Cores that Ray reserves for a replica.")
    gpus_per_replica: float = Field(0.0, ge=0, description="GPUs that Ray reserves for a replica.")
    idle_seconds: float = Field(300.0, ge=0, description="Seconds without requests after which a bot goes to sleep.")
    deadline_seconds: float = Field(
        60.0, gt=0, description="Seconds that a request may take, including the start of a bot that sleeps."
    )
    max_queued_requests: int = Field(
        64, ge=1, description="Requests that wait for one bot; more are refused with status 503."
    )
    quantize: Literal["none", "int8"] = Field(
        "none", description="`int8` computes with 8-bit weights on a CPU; see [engine.md](engine.md)."
    )
    pool_memory_gb: float = Field(1.0, gt=0, description="Memory for bots in each worker of a pool.")
    cache_gb: float = Field(10.0, gt=0, description="Disk space on each node for bots from an object store.")
    no_copies: bool = Field(
        False,
        description="Never answer with a whole training tweet, or with eight words in a row of one.",
    )
    busy_requests: float = Field(
        2.0, gt=0, description="`auto`: a bot is busy at so many concurrent requests, on average over `busy_seconds`."
    )
    busy_seconds: float = Field(10.0, ge=0, description="`auto`: see `busy_requests`.")

    @model_validator(mode="after")
    def _replicas(self) -> "Serve":
        if self.min_replicas > self.max_replicas:
            raise ValueError(f"min_replicas {self.min_replicas} is above max_replicas {self.max_replicas}")
        return self

    @property
    def engine(self) -> dict[str, Any]:
        """The options of `serve.engine.engine.Engine` for this fleet's bots."""
        return {"int8": self.quantize == "int8", "no_copies": self.no_copies}


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


class Publish(Section):
    """How bots are stored and published."""

    dtype: Literal["float16", "float32"] = Field("float16", description="Of the stored weights.")
    private: bool = Field(True, description="Whether repositories that `publish --hub` creates are private.")


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
