"""The plan: the bots of a fleet, the version wanted of each, and which of them exist already.

in_use = manifest.published(job.store)
bots = plan(job, prepared, in_use=in_use)       # one Bot per row of the report
update_status(job.store, bots, in_use)          # what earlier commands have trained or published
"""

from collections.abc import Mapping
from typing import cast

from pipeline.core import manifest
from pipeline.core.bot_files import Metrics
from pipeline.core.errors import UsageError
from pipeline.core.names import handles_of, printable
from pipeline.core.store import Store
from pipeline.plan import provenance
from pipeline.plan.bot import Bot
from pipeline.plan.forgotten import left_out
from pipeline.plan.job import Job
from pipeline.plan.provenance import Provenance
from pipeline.plan.versions import shaping, version
from pipeline.prepare.index import Prepared

MIN_CHARS = 6_000  # characters of kept text that a bot needs from each of its people; with fewer it is skipped
WARN_CHARS = 40_000  # with fewer from all its people together, it is trained with a warning


def plan(
    job: Job, prepared: Prepared, only: list[str] | None = None, in_use: Mapping[str, str] | None = None
) -> list[Bot]:
    """Returns the fleet's bots sorted by name, each prepared, skipped or failed.

    Also checks `only` (the names given to `--bots`), but does not apply it. `in_use` are the published versions, as
    `manifest.published` returns them; without it they are read if `train.continue` needs them. Raises UsageError for
    a name in `only` that is no bot of the fleet.
    """
    names, removed = job.fleet.chosen, left_out(job.store)
    if names is None:
        without_tweets = {handle for handle in prepared.owners.values() if handle not in prepared.people}
        names = [name for name in (*prepared.people, *without_tweets) if name not in removed]
    bots = [_bot(job, name, prepared, removed) for name in sorted(names)]
    if job.train.continue_:
        in_use = manifest.published(job.store) if in_use is None else in_use
        others = [bot for bot in bots if bot.version and bot.name in in_use and in_use[bot.name] != bot.version]
        job.store.map(lambda bot: _choose_parent(job, bot, in_use[bot.name]), others)
    unknown = [name for name in only or [] if name not in names]
    if unknown:
        known = ", ".join(sorted(names)[:8]) + (" …" if len(names) > 8 else "")
        raise UsageError(f"--bots: no bot {printable(unknown[0])} in fleet {job.fleet.fleet}; it has {known}")
    return bots


def update_status(store: Store, bots: list[Bot], in_use: Mapping[str, str]) -> None:
    """Sets the status of bots whose version is in the store: in use is "unchanged", only trained is "trained"."""
    wanted = {bot.name: bot.version for bot in bots if bot.version}
    metrics = manifest.files(store, dict(wanted.items() & in_use.items()), "metrics.json")
    trained = set(store.list("work/trained")) & wanted.keys() - metrics.keys()
    for bot in bots:
        if bot.name in metrics:
            bot.status, bot.metrics = "unchanged", cast(Metrics, metrics[bot.name])
    waiting = [bot for bot in bots if bot.name in trained]
    results = store.map(lambda bot: store.read_json(f"{bot.trained_folder}/training.json"), waiting)
    for bot, result in zip(waiting, results, strict=True):
        if result:
            bot.status, bot.metrics = "trained", result.get("metrics", {})


def _bot(job: Job, name: str, prepared: Prepared, removed: frozenset[str]) -> Bot:
    """Returns a bot with its version, or skipped or failed with the reason."""
    handles = handles_of(name)
    if gone := [handle for handle in handles if handle in removed]:
        return Bot(name, [], status="skipped", reason=f"@{gone[0]} was removed from this fleet by `forget`")
    bot = Bot(name, [prepared.people[handle] for handle in handles if handle in prepared.people])
    if missing := [handle for handle in handles if handle not in prepared.people]:
        bot.status, bot.reason = "failed", f"no posts of @{missing[0]}{_problem(prepared, missing[0])}"
        return bot
    if few := [person for person in bot.people if person.chars < MIN_CHARS]:
        bot.status = "skipped"
        bot.reason = f"@{few[0].handle} has {few[0].chars:,} characters of kept text; a bot needs {MIN_CHARS:,}"
        return bot
    chars = sum(person.chars for person in bot.people)
    if chars < WARN_CHARS:
        bot.warning = f"only {chars:,} characters of kept text; a good bot needs {WARN_CHARS:,}"
    bot.version = version(job, bot.people)
    return bot


def _problem(prepared: Prepared, handle: str) -> str:
    """Returns the end of the sentence "no posts of @nasa": what is wrong with their file."""
    problems = [prepared.problems[path] for path, owner in prepared.owners.items() if owner == handle]
    return f": {problems[0]}" if problems else " in the fleet's files"


def _choose_parent(job: Job, bot: Bot, current: str) -> None:
    """Continues from the current version if only tweets changed; leaves a bot that must start over as it is."""
    made = provenance.read(job.store, bot.name, current)
    if made is None:
        return
    if version(job, bot.people, made.get("last_version", "")) == current:  # made from these tweets, from its own parent
        bot.version = current
    elif _only_tweets_changed(job, bot, made):
        bot.parent, bot.version = current, version(job, bot.people, current)


def _only_tweets_changed(job: Job, bot: Bot, made: Provenance) -> bool:
    tweets = {person.handle: person.digest for person in bot.people}
    return (
        shaping(made["settings"]) == shaping(job.train.of(bot.name, bot.tokens).model_dump())
        and made["base_model"]["hash"] == job.base.content_hash
        and made["tweets"] != tweets
    )
