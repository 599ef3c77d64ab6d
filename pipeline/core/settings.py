"""The sections of the fleet file, one class each, with every key, its default and its limits.

    Train(epochs=2).learning_rate

`fleet.py` puts them together; the comments here are the reference for those who write fleet files.
"""

from datetime import date
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from pipeline.core.names import bot_name, handle_of, not_a_handle


class Section(BaseModel):
    # by alias, which only a key has that Python keeps for itself (`continue`)
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, serialize_by_alias=True)


Schedule = Literal["cosine", "linear", "constant"]
TweetField = Literal["text", "id", "handle", "created_at", "lang", "likes", "retweet", "reply", "quote"]


class TweetSource(Section):
    """A file, folder, glob or URI of tweets; `handle` says whose they are where the file does not."""

    path: str
    handle: str | None = None
    # our fields by the names that the file has for them, where they are unusual: {text: body, handle: who};
    # null leaves a field alone that would be found by its usual name
    columns: dict[TweetField, str | None] = {}
    users: str | None = None  # a table of accounts, in the same storage, for tweets that name only the user's id
    repair: bool = False  # mend text that was once decoded with the wrong encoding (mojibake)

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
    """What is left out beyond retweets and short tweets, all of it opt-in; each has its own row in the counts.

    A tweet whose file does not say when it was written, or how often it was liked, meets no date and no minimum.
    """

    since: date | None = None  # tweets from before this day (UTC) go
    until: date | None = None  # and those from after this day
    min_likes: int | None = Field(None, ge=0)
    replies: bool = True  # false: replies go; where the file does not say, text that starts with @
    quotes: bool = True  # false: tweets that quote another go
    # words and phrases, in any case; or the path of a text file with one a line
    blocked_words: Annotated[list[str], Field(min_length=1)] | str | None = None
    # codes of ISO 639-1: [en, fr]. Where the record does not say the text is asked; where nobody can tell, it stays
    languages: Annotated[list[str], Field(min_length=1)] | None = None
    duplicates: bool = True  # false: of a person's tweets with the same text one stays
    # such as 0.8: of tweets that share their runs of three words to this degree (Jaccard, by MinHash) one stays
    near_duplicates: float | None = Field(None, gt=0, le=1)
    mentions: str | None = None  # what each mention in a kept tweet becomes, such as "@user"; "" takes them out


class Lora(Section):
    """Small matrices beside the base's weights are trained in their place; in the published model they are added in."""

    rank: int = Field(8, ge=1)
    alpha: float = Field(16.0, gt=0)  # they count alpha / rank times
    dropout: float = Field(0.0, ge=0, lt=1)
    targets: Annotated[list[str], Field(min_length=1)] | None = None  # such as [c_attn]; null: all linear layers


class Override(Section):
    """Settings of `train` for some bots only: for those named, or those with so much to train on."""

    bots: list[str | list[str]] | None = None  # as in the fleet's `bots`: an inner list is a blend
    min_tokens: int | None = Field(None, ge=1)  # of an epoch
    epochs: int | None = Field(None, ge=1)
    learning_rate: float | None = Field(None, gt=0, allow_inf_nan=False)
    schedule: Schedule | None = None
    warmup_ratio: float | None = Field(None, ge=0, lt=1)
    batch_size: int | None = Field(None, ge=1)
    workers_per_bot: int | None = Field(None, ge=1)
    gpus_per_worker: float | None = Field(None, gt=0)
    zero_stage: Literal["auto", 0, 1, 2, 3] | None = None
    precision: Literal["auto", "fp32", "bf16"] | None = None
    gradient_checkpointing: bool | None = None
    compile: bool | None = None
    freeze_layers: int | None = Field(None, ge=0)
    lora: Lora | None = None
    seed: int | None = Field(None, ge=0, lt=2**32)

    @model_validator(mode="after")
    def _for_whom(self) -> "Override":
        if self.bots is None and self.min_tokens is None:
            raise ValueError("say for whom: bots: [nasa], or min_tokens: 1_000_000")
        if not self.settings:
            raise ValueError("it sets nothing; give it a setting such as workers_per_bot: 2")
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
        """Whether these settings are for a bot of this name with so many tokens to train on."""
        return (self.bots is None or bot in self.bots) and (self.min_tokens is None or tokens >= self.min_tokens)

    @property
    def settings(self) -> dict[str, Any]:
        return {name: value for name, value in self if value is not None and name not in ("bots", "min_tokens")}


class Train(Section):
    """The recipe (the original huggingtweets'; a base model can carry defaults of its own) and the lanes."""

    epochs: int = Field(4, ge=1)
    learning_rate: float = Field(1.372e-4, gt=0, allow_inf_nan=False)
    schedule: Schedule = "cosine"  # of the rate: half a cosine or a line down to zero, or constant
    warmup_ratio: float = Field(0.0, ge=0, lt=1)  # share of the steps in which the rate rises to where it begins
    batch_size: int = Field(1, ge=1)  # blocks per step and worker
    block_size: int = Field(1024, ge=8)  # tokens
    holdout: float = Field(0.1, gt=0, lt=1)  # share of the kept tweets that training never sees
    lanes: Literal["auto"] | Annotated[int, Field(ge=1)] = "auto"
    workers_per_bot: int = Field(1, ge=1)
    gpus_per_worker: float = Field(1.0, gt=0)  # on clusters with GPUs; 0.25 packs four lanes on one
    zero_stage: Literal["auto", 0, 1, 2, 3] = "auto"
    precision: Literal["auto", "fp32", "bf16"] = "auto"  # auto: bf16 on GPUs that have it, else fp32
    seed: int = Field(0, ge=0, lt=2**32)
    freeze_layers: int = Field(0, ge=0)  # above 0: the embeddings and so many first blocks stay as the base has them
    lora: Lora | None = None  # {} takes it as it stands; it wants a higher learning rate, such as ten times
    # where tweets were added, a bot goes on from its last version, some of the old tweets mixed in; else it starts over
    continue_: bool = Field(False, alias="continue")
    retries: int = Field(1, ge=0)  # more tries for a bot that failed
    checkpoint_minutes: float = Field(5.0, gt=0)  # a bot that takes longer goes on from its last checkpoint
    gradient_checkpointing: bool = False  # less memory, a third more arithmetic
    compile: bool = False  # torch.compile: up to a minute at a lane's start for faster steps after it
    overrides: list[Override] = []  # the later one wins

    def of(self, bot: str, tokens: int) -> "Train":
        """The settings of one bot with so many tokens to train on."""
        update: dict[str, Any] = {}
        for override in self.overrides:
            if override.applies(bot, tokens):
                update |= override.settings
        return self.model_copy(update=update | {"overrides": []})


class Serve(Section):
    # dedicated: replicas of its own for every bot; pooled: shared warm workers for all of them; auto: pooled,
    # and replicas of its own for a bot while it is busy
    endpoint: Literal["dedicated", "pooled", "auto"] = "dedicated"
    min_replicas: int = Field(0, ge=0)
    max_replicas: int = Field(4, ge=1)
    target_ongoing_requests: int = Field(8, ge=1)
    host: str = "127.0.0.1"
    port: int = Field(8000, ge=1, le=65535)
    keys_file: str | None = None  # one key a line; HUGGINGTWEETS_KEYS adds more; without any, everybody may ask
    requests_per_minute: int | None = Field(None, ge=1)  # with one key
    cors_origins: list[str] = []  # web pages elsewhere that may ask, such as https://example.org
    cpus_per_replica: float = Field(0.1, gt=0)
    gpus_per_replica: float = Field(0.0, ge=0)
    idle_seconds: float = Field(300.0, ge=0)  # without requests, before a bot goes to sleep
    deadline_seconds: float = Field(60.0, gt=0)  # for one request, a cold start included
    max_queued_requests: int = Field(64, ge=1)  # for one bot, beyond those its replicas work on
    quantize: Literal["none", "int8"] = "none"  # int8: weights in 8 bits on a CPU; see docs/engine.md
    pool_memory_gb: float = Field(1.0, gt=0)  # of bots that one worker of the pool holds
    cache_gb: float = Field(10.0, gt=0)  # of bots from an object store that a node keeps on its disk
    no_copies: bool = False  # nothing is said that stands in a training tweet, eight words in a row or a whole one
    busy_requests: float = Field(2.0, gt=0)  # auto: so many of a bot's requests under way, on average, …
    busy_seconds: float = Field(10.0, ge=0)  # … for so long, before it gets replicas of its own

    @model_validator(mode="after")
    def _replicas(self) -> "Serve":
        if self.min_replicas > self.max_replicas:
            raise ValueError(f"min_replicas {self.min_replicas} is above max_replicas {self.max_replicas}")
        return self

    @property
    def engine(self) -> dict[str, Any]:
        """What the engine of a bot is told, wherever it answers (serve.engine.Engine)."""
        return {"int8": self.quantize == "int8", "no_copies": self.no_copies}


class Wandb(Section):
    mode: Literal["auto", "online", "offline", "disabled"] = "auto"
    project: str = "huggingtweets"
    entity: str | None = None
    max_runs: int = Field(1000, ge=0)  # bots with runs of their own; all bots are rows of the fleet's run


class Publish(Section):
    dtype: Literal["float16", "float32"] = "float16"  # of the stored weights
    private: bool = True  # the repositories that `publish --hub` makes


class Evaluate(Section):
    samples: int = Field(64, ge=8, le=1024)  # that each bot is judged by; one half without a prompt
    block_list: str | None = None  # a file with a word or phrase a line: how often does a bot say one?


class Sweep(Section):
    """Recipes that `sweep` tries: every combination of these; a setting without values stays as `train` has it."""

    bots: int = Field(3, ge=1)  # on how many, from the smallest to the largest (`--bots` names them)
    epochs: list[Annotated[int, Field(ge=1)]] = [2, 4, 8]
    learning_rate: list[Annotated[float, Field(gt=0, allow_inf_nan=False)]] = []
    batch_size: list[Annotated[int, Field(ge=1)]] = []
    schedule: list[Schedule] = []
    warmup_ratio: list[Annotated[float, Field(ge=0, lt=1)]] = []


class Adapt(Section):
    """The base, adapted to everybody's tweets before any bot is trained (`adapt: true` takes it as it stands)."""

    epochs: int = Field(1, ge=1)
    learning_rate: float = Field(5e-4, gt=0, allow_inf_nan=False)
    batch_size: int = Field(8, ge=1)  # blocks per step and worker
    workers: Literal["auto"] | Annotated[int, Field(ge=1)] = "auto"  # auto: every GPU, or every core
    warmup_steps: int = Field(20, ge=0)
    holdout: float = Field(0.1, gt=0, lt=1)  # share of the people that it never learns from
    checkpoint_minutes: float = Field(5.0, gt=0)


class Pretrain(Section):
    """The base model that `pretrain` makes: a GPT-2 and a byte-level BPE of these sizes."""

    out: str = "./base"
    vocab_size: int = Field(8192, ge=300)
    n_layer: int = Field(4, ge=1)
    n_head: int = Field(4, ge=1)
    n_embd: int = Field(256, ge=8)
    block_size: int = Field(256, ge=8)  # tokens; also the model's positions
    epochs: int = Field(4, ge=1)
    batch_size: int = Field(8, ge=1)  # blocks per step and worker
    workers: int = Field(2, ge=1)
    learning_rate: float = Field(2e-3, gt=0)
    weight_decay: float = Field(0.1, ge=0)
    warmup_steps: int = Field(100, ge=0)
    holdout: float = Field(0.02, gt=0, lt=1)
    checkpoint_minutes: float = Field(5.0, gt=0)
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    seed: int = Field(0, ge=0, lt=2**32)
    train_defaults: dict[str, Any] = {}  # `train` settings that bots on this base start from

    @field_validator("train_defaults")
    @classmethod
    def _defaults(cls, value: dict[str, Any]) -> dict[str, Any]:
        Train.model_validate(value)
        return value
