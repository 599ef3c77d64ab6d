"""What is to be done: a fleet's base and recipe, its bots with their versions, and where each one stands.

    job = open_job(fleet)                       # the base model, the settings it brings, the store
    bots = plan(job, prepared)                  # one Bot per row of the report

A version is a hash of what makes the model: kept tweets, the base's content, the settings that shape the
training, the recipe's number; where a bot goes on from its last version, that one's name too. Same inputs, same
version, no work done again.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

from pipeline.core.errors import UsageError
from pipeline.core.names import handles_of, printable
from pipeline.core.store import Store
from pipeline.plan import provenance
from pipeline.plan.job import Job
from pipeline.plan.versions import shaping, version
from pipeline.prepare.index import Person, Prepared

FORGOTTEN = "forgotten.json"
MIN_CHARS = 6_000  # of kept text per person; below it a bot is skipped
WARN_CHARS = 40_000  # below it a bot is trained with a warning

Status = Literal["prepared", "trained", "unchanged", "skipped", "failed"]


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
        return handles_of(self.name)

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


def _bot(job: Job, name: str, prepared: Prepared, gone: frozenset[str]) -> Bot:
    handles = handles_of(name)
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
    last = job.store.current_version(bot.name)
    if last is None or last == bot.version:
        return
    made = job.store.read_json(f"bots/{bot.name}/{last}/{provenance.FILE}")
    if version(job, bot.people, made.get("last_version", "")) == last:  # the version in use went on as is asked here
        bot.version = last
    elif made and _alike(job, bot, made):
        bot.last, bot.version = last, version(job, bot.people, last)


def _alike(job: Job, bot: Bot, made: dict[str, Any]) -> bool:
    """Whether a version was made from the bot's base, by its recipe, from other tweets."""
    recipe, tweets = shaping(made["settings"]), {person.handle: person.digest for person in bot.people}
    return (
        recipe == shaping(job.train.of(bot.name, bot.tokens).model_dump())
        and made["base_model"]["hash"] == job.base.content_hash
        and made["tweets"] != tweets
    )


def survey(store: Store, bots: list[Bot]) -> None:
    """Marks what the store holds already: published in this version is unchanged, else trained, else prepared."""
    published = set(store.list("bots"))
    trained = set(store.list("work/trained"))
    for bot in bots:
        if bot.version is None:
            continue
        if bot.name in published and store.current_version(bot.name) == bot.version:
            bot.status = "unchanged"
            bot.metrics = store.read_json(f"{bot.folder}/metrics.json")
        elif bot.name in trained and store.exists(f"{bot.trained_folder}/training.json"):
            bot.status = "trained"
            bot.metrics = store.read_json(f"{bot.trained_folder}/training.json").get("metrics", {})


def forgotten(store: Store) -> frozenset[str]:
    """The handles that `forget` took out of the fleet: their tweets stay unread, their bots unmade."""
    return frozenset(store.read_json(FORGOTTEN))
