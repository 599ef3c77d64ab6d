"""The section `serve`: how bots are served."""

from typing import Literal, NotRequired, TypedDict

from pydantic import Field, model_validator

from pipeline.core.settings.section import Section


class EngineOptions(TypedDict):
    """Arguments of `serve.engine.engine.Engine`."""

    int8: bool
    no_copies: bool
    device: NotRequired[str]  # cpu or cuda; without it, cuda where there is one


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
    full_names: bool = Field(
        False,
        description="Serve the bots as `bot@fleet`, beside another fleet's bots of the same names: one person on two "
        "base models, to compare.",
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
    game: bool = Field(
        False,
        description="Let visitors of the page guess which of four texts is a real tweet of the bot's person. It shows "
        "held-out tweets to everyone who can reach the page.",
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
    watermark: bool = Field(
        False,
        description="Mark texts by the choice of their tokens, so that `detect` finds them without a signature; see "
        "[watermark.md](watermark.md).",
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
    def engine(self) -> EngineOptions:
        """The options of `serve.engine.engine.Engine` for this fleet's bots."""
        return {"int8": self.quantize == "int8", "no_copies": self.no_copies}
