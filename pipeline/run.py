"""The pipeline's steps in their order; each step does only what its inputs require.

    report = run(fleet, STEPS, progress)                          # what `huggingtweets run` does
    report = run(fleet, ("evaluate",), progress, again=True)      # what `huggingtweets evaluate` does

This is the one module that knows all steps. What each step does is in the package of its name.
"""

import importlib
import threading
from collections.abc import Collection
from typing import Literal

from pipeline import tweets
from pipeline.core import cycle_collector, manifest, signing_keys, watermark_keys
from pipeline.core.errors import UserError
from pipeline.core.fleet import Fleet
from pipeline.core.lease import Lease, held
from pipeline.core.progress import Progress
from pipeline.core.ray_session import ensure
from pipeline.evaluate.driver import Evaluation, needs_evaluation
from pipeline.plan.bot import Bot
from pipeline.plan.bots import plan, update_status
from pipeline.plan.forgotten import forgotten, left_out
from pipeline.plan.job import Job, open_job
from pipeline.prepare import dataset
from pipeline.prepare.index import REJECTS, Prepared, load_index
from pipeline.prepare.rejects import Case, grouped
from pipeline.publish.bot_index import BotIndex
from pipeline.report.files import write_report
from pipeline.report.progress_record import shared
from pipeline.report.rows import Report
from pipeline.track.tracking import Tracking

Step = Literal["prepare", "train", "evaluate", "publish"]
STEPS: tuple[Step, ...] = ("prepare", "train", "evaluate", "publish")
_SHOWN = 5  # people that a line names


def run(
    fleet: Fleet,
    steps: Collection[Step],
    progress: Progress,
    only: list[str] | None = None,
    again: bool = False,
    wait: bool = False,
) -> Report:
    """Runs the steps for the fleet's bots; writes report.json and report.html and returns what report.json holds.

    `only` limits the work to these bots. `again` also evaluates or publishes bots for which that is done already.
    While another command works on the fleet, `wait` waits for its end. Raises UserError if one does and `wait` is
    false, if the storage cannot be written, or if an earlier step is missing.
    """
    job = open_job(fleet)
    job.store.check_writable()
    command = next(iter(steps)) if len(steps) == 1 else "run"
    with held(job.store, command, wait, progress.say) as lease, shared(job.store, progress):
        progress.checks.append(lease.check)
        return _run(job, steps, progress, only, again, lease)


def _run(
    job: Job, steps: Collection[Step], progress: Progress, only: list[str] | None, again: bool, lease: Lease
) -> Report:
    prepared = prepare(job, progress) if "prepare" in steps else prepared_index(job)
    if job.fleet.adapt:
        from pipeline.base import adapt  # imports torch and Ray Train, which takes seconds

        job = adapt.adapted(job, prepared, progress, make="train" in steps)
    with cycle_collector.paused():
        in_use = manifest.published(job.store)
        bots = plan(job, prepared, only, in_use)
        update_status(job.store, bots, in_use)
    index = BotIndex(job.store, lease.check)
    index.adopt({bot.name: (bot.version or "", bot.metrics) for bot in bots if bot.status == "unchanged"})
    chosen = [bot for bot in bots if only is None or bot.name in only]
    tracking = Tracking(job, bots)
    if "publish" in steps:
        signing_keys.load_or_create(job.store)  # the cards that workers write have the public key
        if job.fleet.serve.watermark:
            watermark_keys.secret_in_use(job.store)  # a service that may only read the store finds it there
    try:
        published = _train_and_evaluate(job, prepared, chosen, steps, progress, again, index)
        if "publish" in steps:
            _publish(job, chosen, published, progress, tracking, again, index)
    finally:
        progress.end()
        with cycle_collector.paused():
            report = write_report(job.store, job.fleet.fleet, bots, progress.seconds)
        index.close()
    if "publish" in steps:
        for line in tracking.finish(report["bots"]):
            progress.say(line)
    _show_problems(bots, prepared, progress)
    return report


def prepare(job: Job, progress: Progress) -> Prepared:
    """The step `prepare`: reads, cleans and counts the fleet's tweets, if their files or the filters changed."""
    files = tweets.files_of(job.fleet, without=left_out(job.store), only=job.fleet.needed)
    progress.start("prepare", 1, f"{len(files)} files")
    if removed := sorted(forgotten(job.store)):
        more = f" and {len(removed) - _SHOWN:,} more" if len(removed) > _SHOWN else ""
        progress.say(
            f"left out, removed by `forget`: {', '.join(f'@{handle}' for handle in removed[:_SHOWN])}{more}; "
            "`huggingtweets readmit FLEET.yaml HANDLE` lets them in again"
        )
    prepared = dataset.prepare(files, job.store, job.base.tokenizer_json, job.train.holdout, job.fleet.filters)
    kept = sum(person.counts["kept"] for person in prepared.people.values())
    progress.advance(
        f"{len(prepared.people)} people, {kept:,} tweets kept"
        + (f", {prepared.rejects:,} records rejected" if prepared.rejects else "")
        + (" (unchanged)" if prepared.unchanged else "")
    )
    if prepared.rejects:
        progress.say(f"tweets: not used: {prepared.reasons}; all are listed in {job.store.path(REJECTS)}")
    for notice in prepared.notices:
        progress.say(f"tweets: {notice}")
    return prepared


def prepared_index(job: Job) -> Prepared:
    """What an earlier command prepared. Raises UserError if none did."""
    prepared = load_index(job.store)
    if prepared is None:
        raise UserError(f"fleet {job.fleet.fleet}: nothing is prepared yet; `huggingtweets prepare` does it")
    return prepared


def _train_and_evaluate(
    job: Job,
    prepared: Prepared,
    bots: list[Bot],
    steps: Collection[Step],
    progress: Progress,
    again: bool,
    index: BotIndex,
) -> list[Bot]:
    """Trains the bots that are only prepared and, beside training, evaluates trained and published bots.

    Publishing needs metrics, so a bot without them is evaluated for that step, too. Returns the bots that the
    evaluation's workers published right after evaluating them.
    """
    evaluates = "evaluate" in steps or "publish" in steps
    to_train = [bot for bot in bots if bot.status == "prepared"] if "train" in steps else []
    finished = [bot for bot in bots if bot.status in ("trained", "unchanged")]
    evaluate_all = again and "evaluate" in steps
    to_evaluate = [bot for bot in finished if evaluate_all or needs_evaluation(bot)] if evaluates else []
    if to_train:
        # The import takes seconds, in which Ray can start. A later import of the same module waits for this one.
        threading.Thread(target=importlib.import_module, args=("pipeline.train.driver",)).start()
    if to_train or to_evaluate:
        ensure()
    if "train" in steps and finished and not to_train:
        progress.say(f"train: nothing to do, {len(finished)} bots are trained already")
    changing = [*to_train, *to_evaluate]
    index.withdraw(bot.name for bot in changing if "publish" in steps or bot.status == "unchanged")
    evaluation = Evaluation(
        job,
        prepared.people,
        beside=bool(to_train),
        most=len(changing),
        publish="publish" in steps,
        measured=index.record,
        say=progress.say,
    )
    with evaluation:
        for bot in to_evaluate:
            evaluation.add(bot)
        if to_train:
            from pipeline.train import driver

            if evaluates:
                evaluation.begin()
            driver.train(job, to_train, progress, done=evaluation.add if evaluates else lambda bot: None)
        return evaluation.settle(progress)


def _publish(
    job: Job,
    bots: list[Bot],
    published: list[Bot],
    progress: Progress,
    tracking: Tracking,
    again: bool,
    index: BotIndex,
) -> None:
    """Publishes the trained bots that are not in `published` yet; with `again` also renews published bots' folders.

    Hands all of them to W&B's tracking, with the unchanged bots that it may not have yet.
    """
    tracking.add(bot for bot in bots if bot.status == "unchanged")
    done = {bot.name for bot in published}
    due = [bot for bot in bots if bot.status == "trained" and bot.name not in done]
    if again:
        due += [bot for bot in bots if bot.status == "unchanged"]
    if published or due:
        progress.start("publish", len(published) + len(due))
    for bot in published:
        tracking.add([bot])
        progress.advance(bot.name, bot=bot)
    if due:
        from pipeline.publish import publishing

        ensure()

        def on_published(bot: Bot) -> None:
            index.record(bot)
            tracking.add([bot] if bot.status == "trained" else [])

        index.withdraw(bot.name for bot in due)
        publishing.publish(job, due, progress, on_published)


def _show_problems(bots: list[Bot], prepared: Prepared, progress: Progress) -> None:
    """A line for each file that gave nothing and for each bot that failed or was skipped."""
    cases = [Case(problem, path) for path, problem in prepared.problems.items()]
    for group in grouped(cases):
        more = f" (and {group.number - 1:,} more files with a reason like this)" if group.number > 1 else ""
        progress.say(f"tweets: {group.place}: {group.reason}{more}")
    for bot in bots:
        if bot.status in ("failed", "skipped"):
            progress.say(f"{bot.name} {bot.status}: {bot.reason}")
