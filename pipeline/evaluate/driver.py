"""Measures bots on the cluster while others still train; the driver's side, around worker.py.

    with Evaluation(job, prepared.people, beside=True, most=len(bots), publish=True) as evaluation:
        evaluation.begin()                          # starts the pool of workers, beside the lanes
        evaluation.add(bot)                         # from any thread, as bots are trained
        published = evaluation.settle(progress)     # waits for all of them and sets their metrics

At the end of the block the pool ends, too, if the command failed or was interrupted.

First the classifiers of the fleet's voices are trained (voice_groups.py). Then a pool of actors measures one bot after
another: the loss on the held-out tweets, and what samples show about voice, copying, variety and safety. `evaluate`
measures models in the store again, so a new metric needs no new training. With `publish` the worker that measured a
trained bot also publishes it.
"""

import queue
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from pipeline.core import actor_pool
from pipeline.core.errors import UserError, one_line
from pipeline.core.progress import Progress
from pipeline.evaluate import voice_groups
from pipeline.evaluate.measurer import MEASURED, workers_per_gpu
from pipeline.evaluate.measures.safety import read_block_list
from pipeline.evaluate.voice_groups import VoiceGroups
from pipeline.evaluate.worker import EvaluateAndPublish, Evaluated, EvaluateTask
from pipeline.plan.bot import Bot
from pipeline.plan.bots import MIN_CHARS
from pipeline.plan.job import Job
from pipeline.prepare.index import Person
from pipeline.publish.card import CardFacts
from pipeline.publish.publishing import PublishTask

_POLL_SECONDS = 0.3
_RESTARTS = 2  # of a pool that died
_END_SECONDS = 10  # to wait for the pool to end, if the command failed


def needs_evaluation(bot: Bot) -> bool:
    """Whether one of this bot's metrics is still to be measured."""
    return not bot.metrics.keys() >= MEASURED


class Evaluation(threading.Thread):
    """A thread that reads the results of a pool of workers, while the driver trains other bots."""

    def __init__(
        self,
        job: Job,
        people: Mapping[str, Person],
        beside: bool,
        most: int,
        publish: bool = False,
        measured: Callable[[Bot], None] = lambda bot: None,
        say: Callable[[str], None] = lambda line: None,
    ):
        """`people` are all that are prepared. `beside`: lanes train meanwhile. `publish`: also publish trained bots.

        `most` is the number of bots that are added at most: the pool has no more workers than that.
        `measured` is called, in this thread, with a copy of each bot whose published folder has new metrics.
        `say` reports at once what goes wrong with the pool or the classifiers.
        Raises UserError if the file of `evaluate.block_list` cannot be read.
        """
        super().__init__(daemon=True, name="evaluation")
        self.job, self.beside, self.most, self.publish = job, beside, most, publish
        enough = {handle: person for handle, person in people.items() if person.chars >= MIN_CHARS}
        self.groups = VoiceGroups(enough, job.train.holdout)
        self.block_list = _block_list(job.fleet.evaluate.block_list)
        self.bots: dict[str, Bot] = {}
        self.results: queue.SimpleQueue[tuple[EvaluateTask, Evaluated | actor_pool.Failed]] = queue.SimpleQueue()
        self.error: str | None = None  # that ended the pool
        self.feed: actor_pool.Feed[EvaluateTask] | None = None
        self.measured, self.say = measured, say
        self.tasks: dict[str, EvaluateTask] = {}  # without a result yet, by bot
        self.complete = self.aborted = False  # no task comes any more; the command ends
        self.lock = threading.Lock()  # of the feed, the tasks and whether they are complete

    def begin(self) -> None:
        """Starts the pool, before the first bot is there."""
        if self.feed is None:
            self.feed = actor_pool.Feed(most=self.most)
            self.start()

    def add(self, bot: Bot) -> None:
        """Has a bot measured whose model is in the store; starts the pool if it is not running."""
        self.begin()
        assert self.feed is not None
        published = bot.status == "unchanged"
        self.bots[bot.name] = bot
        task = EvaluateTask(
            facts=CardFacts.of(self.job, bot),
            folder=bot.folder if published else bot.trained_folder,
            published=published,
            continued="continued" in bot.metrics,
            group=self.groups.of(bot.handles),
            publish=PublishTask.of(self.job, bot) if self.publish and not published else None,
        )
        with self.lock:
            self.tasks[bot.name] = task
            self.feed.add(task)

    def run(self) -> None:
        """Trains the classifiers, then reads results until the feed is closed. A pool that dies is started again."""
        for restarts_left in reversed(range(_RESTARTS + 1)):
            try:
                if self.error is not None:
                    self._renew_feed()
                self._measure()
                return
            except Exception as error:
                self.error = one_line(error)
                if self.aborted:
                    return
                then = "it is started again" if restarts_left else "the bots that are left are not evaluated"
                self.say(f"evaluate: the pool of workers ended, {then}: {self.error}")

    def _measure(self) -> None:
        voice_groups.learn(self.job, self.groups, self.beside, self.say)
        assert self.feed is not None
        per_gpu = workers_per_gpu(self.job.base)
        arguments = {"job": self.job, "block_list": self.block_list, "beside_lanes": self.beside}
        results = actor_pool.run_tasks(
            EvaluateAndPublish, self.feed, beside_training=self.beside, workers_per_gpu=per_gpu, **arguments
        )
        for task, result in results:
            with self.lock:
                self.tasks.pop(task.facts.bot)
            bot = self.bots[task.facts.bot]
            if isinstance(result, Evaluated) and (task.published or "publish" in result.seconds):
                self.measured(replace(bot, metrics=bot.metrics | result.metrics))
            self.results.put((task, result))

    def _renew_feed(self) -> None:
        with self.lock:
            self.feed = actor_pool.Feed(most=self.most)
            for task in self.tasks.values():
                self.feed.add(task)
            if self.complete:
                self.feed.close()

    def __enter__(self) -> "Evaluation":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        """Ends the pool if `settle` did not, because the command failed or was interrupted.

        After a failure nothing may use the cluster any more when the command leaves it. After Ctrl-C the process exits
        next, and waits for nothing.
        """
        if self.is_alive() and self.feed is not None:
            self.aborted = True
            self.feed.abort()
            if not isinstance(error, KeyboardInterrupt):
                self.join(_END_SECONDS)

    def settle(self, progress: Progress) -> list[Bot]:
        """Waits until all added bots are measured, and sets their metrics and status; returns those published."""
        if self.feed is None:
            return []
        with self.lock:
            self.complete = True
            self.feed.close()
        progress.start("evaluate", len(self.bots))
        waiting, published = dict(self.bots), []
        while waiting and (self.is_alive() or not self.results.empty()):
            try:
                task, result = self.results.get(timeout=_POLL_SECONDS)
            except queue.Empty:
                continue
            bot = waiting.pop(task.facts.bot)
            if _settle_one(bot, result):
                published.append(bot)
            progress.advance(_summary(bot), bot=bot)
        for bot in waiting.values():
            bot.status, bot.reason = "failed", f"not evaluated: {self.error or 'the pool of workers ended'}"
            progress.advance(bot=bot)
        self.join()
        return published


def _settle_one(bot: Bot, result: Evaluated | actor_pool.Failed) -> bool:
    """Sets a bot's metrics, seconds and status; returns whether it was published."""
    if isinstance(result, actor_pool.Failed):
        bot.status, bot.reason = "failed", f"not evaluated: {result.reason}"
        return False
    bot.metrics |= result.metrics
    bot.seconds |= result.seconds
    if result.problem:
        bot.status, bot.reason = "failed", result.problem
        return False
    return "publish" in bot.seconds


def _summary(bot: Bot) -> str:
    """A line for the progress display, with the figures of the final table."""
    if bot.status == "failed":
        return f"{bot.name} {bot.reason}"
    voice = bot.metrics["voice"].get("top1")
    right = f"voice {voice:.0%}, " if voice is not None else ""
    return f"{bot.name}: {right}copied runs {bot.metrics['copying']['long_runs']:.0%}"


def _block_list(path: str | None) -> frozenset[str] | None:
    if path is None:
        return None
    try:
        return read_block_list(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"evaluate.block_list: {path}: cannot be read: {one_line(error)}") from None
