"""The steps in their order, each only where its inputs changed; what the commands call.

report = run(fleet, ["prepare", "train", "evaluate", "publish"], progress)
"""

from dataclasses import replace
from typing import Any

from pipeline import evaluate, prepare, report, track, tweets
from pipeline.errors import UserError
from pipeline.fleet import Fleet
from pipeline.plan import Bot, Job, current, forgotten, open_job, plan, survey
from pipeline.progress import Progress
from pipeline.session import ensure

STEPS = ("prepare", "train", "evaluate", "publish")


def run(fleet: Fleet, steps: list[str], progress: Progress, only: list[str] | None = None) -> dict[str, Any]:
    """Runs these steps for the fleet's bots (or `only` some of them); writes and returns the report."""
    job = open_job(fleet)
    job.store.check_writable()
    prepared = _prepare(job, progress) if "prepare" in steps else _prepared(job)
    bots = plan(job, prepared, only)
    survey(job.store, bots)
    chosen = [bot for bot in bots if only is None or bot.name in only]
    tracking = track.Tracking(job, bots)
    try:
        if "train" in steps:
            _train(job, [bot for bot in chosen if bot.status == "prepared"], progress)
        if "evaluate" in steps:
            _evaluate(job, chosen, progress, anew=steps == ["evaluate"])
        if "publish" in steps:
            _publish(job, chosen, progress, tracking)
    finally:
        progress.end()
        written = report.write(job.store, fleet.fleet, bots, progress.seconds)
    if "publish" in steps:
        tracking.finish(written["bots"])
    _remark(bots, prepared, progress)
    return written


def _prepare(job: Job, progress: Progress) -> prepare.Prepared:
    gone = forgotten(job.store)
    files = [replace(file, without=gone) for file in tweets.find(job.fleet.tweets)]
    progress.start("prepare", 1, f"{len(files)} files")
    prepared = prepare.prepare(files, job.store, job.tokenizer, job.train.holdout)
    kept = sum(person.counts["kept"] for person in prepared.people.values())
    progress.advance(
        f"{len(prepared.people)} people, {kept:,} tweets kept"
        + (f", {prepared.rejects:,} records rejected" if prepared.rejects else "")
        + (" (unchanged)" if prepared.unchanged else "")
    )
    return prepared


def _prepared(job: Job) -> prepare.Prepared:
    prepared = prepare.load_index(job.store)
    if prepared is None:
        raise UserError(f"fleet {job.fleet.fleet}: nothing is prepared yet; `huggingtweets prepare` does it")
    return prepared


def _train(job: Job, bots: list[Bot], progress: Progress) -> None:
    if bots:
        from pipeline import train

        ensure()
        train.train(job, bots, progress)


def _evaluate(job: Job, bots: list[Bot], progress: Progress, anew: bool) -> None:
    """Measures models whose held-out loss is not known; the command of that name measures all anew."""
    there = [bot for bot in bots if bot.status in ("trained", "unchanged")]
    due = [bot for bot in there if anew or "held_out" not in bot.metrics]
    if due:
        ensure()
        evaluate.evaluate(job, due, progress)


def _publish(job: Job, bots: list[Bot], progress: Progress, tracking: track.Tracking) -> None:
    """Publishes what is trained; W&B hears of it, and of what earlier commands could not tell it any more."""
    tracking.add(bot for bot in bots if bot.status == "unchanged")
    trained = [bot for bot in bots if bot.status == "trained"]
    if trained:
        from pipeline import publish

        ensure()
        publish.publish(job, trained, progress, lambda bot: tracking.add([bot]))


def _remark(bots: list[Bot], prepared: prepare.Prepared, progress: Progress) -> None:
    for path, problem in prepared.problems.items():
        progress.say(f"tweets: {path}: {problem}")
    for bot in bots:
        if bot.status in ("failed", "skipped"):
            progress.say(f"{bot.name} {bot.status}: {bot.reason}")


def versions(fleet: Fleet, only: list[str] | None = None) -> tuple[Job, dict[str, str]]:
    """The fleet's published bots, each with the version in use. Raises UserError where there is none."""
    job = open_job(fleet)
    bots = plan(job, _prepared(job), only)
    names = [bot.name for bot in bots if only is None or bot.name in only]
    found = {name: version for name in names if (version := current(job.store, name))}
    if not found:
        raise UserError(f"fleet {fleet.fleet}: no bot is published yet; `huggingtweets run` makes them")
    return job, found
