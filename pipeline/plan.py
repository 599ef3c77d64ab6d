"""What is to be done: a fleet's base and recipe, its bots with their versions, and where each one stands.

    job = open_job(fleet)                       # the base model, the settings it brings, the store
    bots = plan(job, prepared)                  # one Bot per row of the report

A version is a hash of what makes the model: kept tweets, the base's content, the settings that shape the
training, the recipe's number; where a bot goes on from its last version, that one's name too. Same inputs, same
version, no work done again.
"""

import hashlib
import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from pipeline import model, provenance
from pipeline.clean import MIN_CHARS, WARN_CHARS
from pipeline.errors import UsageError, UserError
from pipeline.fleet import Fleet, explain
from pipeline.names import bot_name, is_bot_name
from pipeline.prepare import Person, Prepared
from pipeline.settings import Train
from pipeline.store import Store

FORGOTTEN = "forgotten.json"
RECIPE = 1  # raise it when training would give another model from the same inputs
SHAPING = {"epochs", "learning_rate", "batch_size", "block_size", "holdout", "precision", "seed"}
OPTIONS = {"freeze_layers", "lora", "schedule", "warmup_ratio"}  # they shape it too, where they are not the default

Status = Literal["prepared", "trained", "unchanged", "skipped", "failed"]


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


@dataclass
class Bot:
    name: str
    people: list[Person]
    version: str | None = None
    status: Status = "prepared"
    reason: str | None = None
    log: str = ""  # its tail, where the bot failed
    warning: str | None = None
    metrics: dict[str, Any] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    last: str = ""  # the version to go on from (`train.continue`)

    @property
    def handles(self) -> list[str]:
        return self.name.split("-")

    @property
    def tokens(self) -> int:
        return sum(person.tokens for person in self.people)

    @property
    def trained_folder(self) -> str:
        return f"work/trained/{self.name}/{self.version}"

    @property
    def folder(self) -> str:
        return f"bots/{self.name}/{self.version}"

    @property
    def stats(self) -> dict[str, Any]:
        return {"handles": self.handles, "tweets": {person.handle: person.counts for person in self.people}}


def open_job(fleet: Fleet) -> Job:
    """Fetches the base model and settles the recipe. Raises UserError where the base cannot be used."""
    folder = model.fetch_base(fleet.base_model)
    base = model.read_files(folder)
    settings = recipe(fleet, base)
    return Job(fleet, Store.of(fleet), folder, base, model.content_hash(base), settings, model.tokenizer_json(folder))


def recipe(fleet: Fleet, base: dict[str, bytes]) -> Train:
    """The training settings: the base model's defaults, the fleet file's over them.

    A block is never longer than the base's positions; asking for more, or to freeze more blocks than it has, is a
    UsageError.
    """
    asked = {name: getattr(fleet.train, name) for name in fleet.train.model_fields_set}
    try:
        defaults = json.loads(base.get(model.DEFAULTS, b"{}"))
        settings = Train(**(defaults | asked))
        config = json.loads(base["config.json"])
        longest, blocks = model.positions(config), model.blocks(config)
    except ValidationError as error:
        raise UserError(f"base_model {fleet.base_model}: its {model.DEFAULTS}: {explain(error)}") from None
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


def plan(job: Job, prepared: Prepared, only: list[str] | None = None) -> list[Bot]:
    """The fleet's bots, sorted by name, each as prepared, skipped or failed; see `survey` for the rest.

    `only` limits the work to these (`--bots`); raises UsageError for a name the fleet does not have.
    """
    names, gone = job.fleet.chosen, forgotten(job.store)
    if names is None:
        lost = {handle for handle in prepared.owners.values() if handle not in prepared.people}
        names = [name for name in (*prepared.people, *lost) if name not in gone]
    bots = [_bot(job, name, prepared, gone) for name in sorted(names)]
    published = set(job.store.list("bots")) if job.train.continue_ else set()
    for bot in bots:
        if bot.version and bot.name in published:
            _go_on(job, bot)
    if only is None:
        return bots
    unknown = [name for name in only if name not in names]
    if unknown:
        shown = ", ".join(sorted(names)[:8]) + (" …" if len(names) > 8 else "")
        raise UsageError(f"--bots: no bot {printable(unknown[0])} in fleet {job.fleet.fleet}; it has {shown}")
    return bots


def printable(name: str) -> str:
    """A name from outside, fit for a message."""
    return name if is_bot_name(name) else repr(name[:60])


def named(text: str) -> str:
    """A bot's name as somebody typed it. Raises UsageError for what cannot be one."""
    name = text.strip().removeprefix("@").lower()
    if not is_bot_name(name):
        raise UsageError(f"{text[:60]!r} is not a bot's name")
    return name


def _bot(job: Job, name: str, prepared: Prepared, gone: frozenset[str]) -> Bot:
    handles = name.split("-")
    if out := [handle for handle in handles if handle in gone]:
        return Bot(name, [], status="skipped", reason=f"@{out[0]} was taken out of this fleet ({FORGOTTEN})")
    bot = Bot(name, [prepared.people[handle] for handle in handles if handle in prepared.people])
    missing = [handle for handle in handles if handle not in prepared.people]
    if missing:
        problem = next(
            (prepared.problems[path] for path, owner in prepared.owners.items() if owner == missing[0]), None
        )
        bot.status = "failed"
        bot.reason = f"no tweets of @{missing[0]}" + (f": {problem}" if problem else " in the fleet's files")
        return bot
    few = [person for person in bot.people if person.chars < MIN_CHARS]
    if few:
        bot.status = "skipped"
        bot.reason = f"@{few[0].handle} has {few[0].chars:,} characters of kept text; a bot needs {MIN_CHARS:,}"
        return bot
    chars = sum(person.chars for person in bot.people)
    if chars < WARN_CHARS:
        bot.warning = f"only {chars:,} characters of kept text; a good bot wants {WARN_CHARS:,}"
    bot.version = version(job, bot.people)
    return bot


def _go_on(job: Job, bot: Bot) -> None:
    """Has the bot go on from the version in use where tweets were all that changed since, else start over."""
    last = current(job.store, bot.name)
    if last is None or last == bot.version:
        return
    made = read_json(job.store, f"bots/{bot.name}/{last}/{provenance.FILE}")
    if version(job, bot.people, made.get("last_version", "")) == last:  # the version in use went on as is asked here
        bot.version = last
    elif made and _alike(job, bot, made):
        bot.last, bot.version = last, version(job, bot.people, last)


def _alike(job: Job, bot: Bot, made: dict[str, Any]) -> bool:
    """Whether a version was made from the bot's base, by its recipe, from other tweets."""
    recipe, tweets = shaping(made["settings"]), {person.handle: person.digest for person in bot.people}
    return (
        recipe == shaping(job.train.of(bot.name, bot.tokens).model_dump())
        and made["base_model"]["hash"] == job.base_hash
        and made["tweets"] != tweets
    )


def shaping(settings: dict[str, Any]) -> dict[str, Any]:
    """Of `train` settings those that shape the model."""
    options = {key for key in OPTIONS if settings.get(key) not in (None, Train.model_fields[key].default)}
    return {key: value for key, value in settings.items() if key in SHAPING | options}


def version(job: Job, people: list[Person], last: str = "") -> str:
    """The version of a bot of these people: 12 hex digits. `last`: the version that it goes on from."""
    settings = job.train.of(bot_name([person.handle for person in people]), sum(person.tokens for person in people))
    recipe = shaping(settings.model_dump())
    made_of = [[person.digest for person in people], job.base_hash, recipe, job.fleet.publish.dtype, RECIPE]
    made_of += [last] if last else []
    return hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()[:12]


def survey(store: Store, bots: list[Bot]) -> None:
    """Marks what the store holds already: published in this version is unchanged, else trained, else prepared."""
    published = set(store.list("bots"))
    trained = set(store.list("work/trained"))
    for bot in bots:
        if bot.version is None:
            continue
        if bot.name in published and current(store, bot.name) == bot.version:
            bot.status = "unchanged"
            bot.metrics = read_json(store, f"{bot.folder}/metrics.json")
        elif bot.name in trained and store.exists(f"{bot.trained_folder}/training.json"):
            bot.status = "trained"
            bot.metrics = read_json(store, f"{bot.trained_folder}/training.json").get("metrics", {})


def current(store: Store, bot: str) -> str | None:
    """The version of a bot in use, or None."""
    try:
        return store.read(f"bots/{bot}/current").decode().strip()
    except FileNotFoundError:
        return None


def forgotten(store: Store) -> frozenset[str]:
    """The handles that `forget` took out of the fleet: their tweets stay unread, their bots unmade."""
    return frozenset(read_json(store, FORGOTTEN))


def read_json(store: Store, name: str) -> dict[str, Any]:
    try:
        return json.loads(store.read(name))
    except (FileNotFoundError, ValueError):
        return {}
