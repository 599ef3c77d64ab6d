"""The steps in their order, each only where its inputs changed; what the commands call.

report = run(fleet, ["prepare", "train", "evaluate", "publish"], progress)
"""

import importlib
import threading
from contextlib import closing
from typing import Any

from pipeline import tweets
from pipeline.base import adapt
from pipeline.core.errors import UserError
from pipeline.core.fleet import Fleet
from pipeline.core.own_code import ASSETS
from pipeline.core.progress import Progress
from pipeline.core.ray_session import ensure
from pipeline.core.settings import Adapt
from pipeline.core.store import write_folder_at
from pipeline.core.templates import render
from pipeline.evaluate import evaluation as evaluate
from pipeline.plan.bots import Bot, forgotten, plan, survey
from pipeline.plan.job import Job, open_job
from pipeline.prepare import dataset
from pipeline.report import files as report
from pipeline.report.live import shared
from pipeline.track.tracking import Tracking

STEPS = ("prepare", "train", "evaluate", "publish")


def run(fleet: Fleet, steps: list[str], progress: Progress, only: list[str] | None = None) -> dict[str, Any]:
    """Runs these steps for the fleet's bots (or `only` some of them); writes and returns the report."""
    job = open_job(fleet)
    job.store.check_writable()
    with shared(job.store, progress):
        return _run(job, steps, progress, only)


def _run(job: Job, steps: list[str], progress: Progress, only: list[str] | None) -> dict[str, Any]:
    prepared = prepare_tweets(job, progress) if "prepare" in steps else _prepared(job)
    job = adapt.adapted(job, prepared, progress, make="train" in steps)
    bots = plan(job, prepared, only)
    survey(job.store, bots)
    chosen = [bot for bot in bots if only is None or bot.name in only]
    tracking = Tracking(job, bots)
    try:
        published = _train_and_evaluate(job, prepared, chosen, steps, progress)
        if "publish" in steps:
            _publish(job, chosen, published, progress, tracking, anew=steps == ["publish"])
    finally:
        progress.end()
        written = report.write(job.store, job.fleet.fleet, bots, progress.seconds)
    if "publish" in steps:
        for line in tracking.finish(written["bots"]):
            progress.say(line)
    _remark(bots, prepared, progress)
    return written


def prepare_tweets(job: Job, progress: Progress) -> dataset.Prepared:
    """The step `prepare`: reads, cleans and counts the fleet's tweets, where their files changed."""
    gone = forgotten(job.store)
    files = tweets.find(job.fleet.tweets, job.fleet.owners, without=gone)
    progress.start("prepare", 1, f"{len(files)} files")
    prepared = dataset.prepare(files, job.store, job.tokenizer, job.train.holdout, job.fleet.filters)
    kept = sum(person.counts["kept"] for person in prepared.people.values())
    progress.advance(
        f"{len(prepared.people)} people, {kept:,} tweets kept"
        + (f", {prepared.rejects:,} records rejected" if prepared.rejects else "")
        + (" (unchanged)" if prepared.unchanged else "")
    )
    return prepared


def _prepared(job: Job) -> dataset.Prepared:
    prepared = dataset.load_index(job.store)
    if prepared is None:
        raise UserError(f"fleet {job.fleet.fleet}: nothing is prepared yet; `huggingtweets prepare` does it")
    return prepared


def _train_and_evaluate(
    job: Job, prepared: dataset.Prepared, bots: list[Bot], steps: list[str], progress: Progress
) -> list[Bot]:
    """Trains what is prepared, and measures beside it what is trained or was published without.

    The command `evaluate` measures everything anew; to publish takes measuring what is not measured yet. Returns
    the bots that were published at once, as soon as they were measured.
    """
    waiting = [bot for bot in bots if bot.status == "prepared"] if "train" in steps else []
    there = [bot for bot in bots if bot.status in ("trained", "unchanged")]
    anew, wanted = steps == ["evaluate"], {"evaluate", "publish"} & set(steps)
    due = [bot for bot in there if anew or evaluate.missing(bot)] if wanted else []
    if waiting:
        # it takes seconds, in which Ray can start; whoever imports it next waits for the end of it
        threading.Thread(target=importlib.import_module, args=("pipeline.train.driver",)).start()
    if waiting or due:
        ensure()
    if "train" in steps and there and not waiting:
        progress.say(f"train: nothing to do, {len(there)} bots are as they were")
    at_once = "publish" in steps
    with closing(evaluate.Evaluation(job, prepared.people, beside=bool(waiting), publish=at_once)) as evaluation:
        for bot in due:
            evaluation.add(bot)
        if waiting:
            from pipeline.train import driver

            if wanted:
                evaluation.begin()
            driver.train(job, waiting, progress, done=evaluation.add if wanted else lambda bot: None)
        return evaluation.settle(progress)


def _publish(
    job: Job, bots: list[Bot], published: list[Bot], progress: Progress, tracking: Tracking, anew: bool
) -> None:
    """Publishes what is trained and not `published` yet (`anew`: and the cards of what is published).

    W&B hears of it, and of what earlier commands could not tell it any more.
    """
    tracking.add(bot for bot in bots if bot.status == "unchanged")
    there = {bot.name for bot in published}
    trained = [bot for bot in bots if bot.status == "trained" and bot.name not in there]
    due = trained + [bot for bot in bots if anew and bot.status == "unchanged"]
    if published or due:
        progress.start("publish", len(published) + len(due))
    for bot in published:
        tracking.add([bot])
        progress.advance(bot.name, bot=bot)
    if due:
        from pipeline.publish import publishing

        ensure()
        publishing.publish(job, due, progress, lambda bot: tracking.add([bot] if bot.status == "trained" else []))


def _remark(bots: list[Bot], prepared: dataset.Prepared, progress: Progress) -> None:
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
    found = {name: version for name in names if (version := job.store.current_version(name))}
    if not found:
        raise UserError(f"fleet {fleet.fleet}: no bot is published yet; `huggingtweets run` makes them")
    return job, found


def adapt_base(fleet: Fleet, progress: Progress) -> dict[str, Any]:
    """Adapts the fleet's base to its tweets, into the folder `pretrain.out`; returns the metrics."""
    job = open_job(fleet.model_copy(update={"adapt": fleet.adapt or Adapt()}))
    files, metrics = adapt.adapt(job, prepare_tweets(job, progress), progress)
    settings = job.fleet.adapt
    card = render(
        ASSETS / "adapted_card.md.j2", fleet=fleet.fleet, base=fleet.base_model, settings=settings, metrics=metrics
    )
    write_folder_at(fleet.pretrain.out, files | {"README.md": card.encode()})
    return metrics
