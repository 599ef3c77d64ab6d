"""Turns trained bots into model folders that transformers loads, each with a card and a picture.

    publish(job, bots, progress, on_published)          # on a pool of workers of its own
    Publisher(job).publish(PublishTask.of(job, bot))    # one bot, in this process

`bots/{bot}/{version}/` is written whole or not at all; `bots/{bot}/current` is replaced last, in one step.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from pipeline.core import actor_pool, checksums, logs, model_folder, signing_keys
from pipeline.core.bot_files import Metrics
from pipeline.core.errors import UserError
from pipeline.core.json_file import json_bytes
from pipeline.core.picture import draw, profile_file, square
from pipeline.core.progress import Progress
from pipeline.core.word_runs import RUNS_FILE, runs_file
from pipeline.plan import provenance
from pipeline.plan.bot import Bot
from pipeline.plan.forgotten import left_out
from pipeline.plan.job import Job
from pipeline.prepare.filters import language_of
from pipeline.prepare.index import PICTURES
from pipeline.prepare.kept_tweets import read_tweets
from pipeline.publish.card import PROMPT, CardFacts, card, languages_of
from pipeline.train import learned_tweets

_REWRITTEN = ("README.md", "metrics.json")  # later commands may change them without a new version
_SAMPLE, _SAMPLE_CHARS = 50, 2000  # tweets, and characters of them, that show a person's language: some 3 ms


@dataclass(frozen=True)
class PublishTask:
    """A bot to publish, or whose card to write again."""

    facts: CardFacts
    trained_folder: str  # in the store
    folder: str

    @classmethod
    def of(cls, job: Job, bot: Bot) -> "PublishTask":
        """The task for a bot of the plan."""
        return cls(CardFacts.of(job, bot), bot.trained_folder, bot.folder)


def publish(job: Job, bots: Sequence[Bot], progress: Progress, on_published: Callable[[Bot], None]) -> None:
    """Publishes bots on all the cluster's cores; calls `on_published` for each, and marks others as failed.

    Trained bots must be evaluated: the picture shows samples from their metrics. For published bots the card is
    written again.
    """
    tasks = [PublishTask.of(job, bot) for bot in bots]
    by_name = {bot.name: bot for bot in bots}
    for task, result in actor_pool.run_tasks(PublishWorker, tasks, job=job):
        bot = by_name[task.facts.bot]
        if isinstance(result, actor_pool.Failed):
            bot.status, bot.reason = "failed", f"not published: {result.reason}"
            progress.advance(f"{bot.name} {bot.reason}", bot=bot)
        else:
            on_published(bot)
            progress.advance(bot.name, bot=bot)


class PublishWorker(actor_pool.Worker[PublishTask, None]):
    """Publishes the bots that were not published by the worker that evaluated them."""

    verb = "published"
    uses_gpu = False

    def __init__(self, job: Job):
        self.job, self.publisher = job, Publisher(job)

    def log(self, task: PublishTask) -> Any:
        """A logger whose lines name the bot."""
        return logs.log(fleet=self.job.fleet.fleet, bot=task.facts.bot, version=task.facts.version)

    def work(self, task: PublishTask) -> None:
        """Publishes one bot."""
        self.publisher.publish(task)


class Publisher:
    """Writes model folders into a fleet's store."""

    def __init__(self, job: Job):
        self.job, self.store = job, job.store
        self.signing_keys = signing_keys.load(job.store).jwks

    def publish(self, task: PublishTask, weights: Path | None = None) -> None:
        """Writes the bot's folder, or only its card if the folder is there; then makes this version the current one.

        `weights`: the file of the trained weights, if it is on this machine. Raises UserError for a bot of somebody
        whom `forget` removed after this command had begun.
        """
        if gone := left_out(self.store).intersection(task.facts.handles):
            raise UserError(f"@{min(gone)} was removed from this fleet")
        if not self.store.exists(f"{task.folder}/metrics.json"):  # the last file that is written
            self.store.write_folder(task.folder, self._files(task, weights))
        else:
            self.renew_card(task.facts, task.folder)
        bot = task.facts.bot
        self.store.write(f"bots/{bot}/current", task.facts.version.encode())
        self.store.delete(f"work/trained/{bot}")

    def renew_card(self, facts: CardFacts, folder: str) -> None:
        """Writes a published bot's card again, with the languages of the old card and the pictures in the folder."""
        old = self.store.read(f"{folder}/README.md").decode()
        pictures = sorted(set(self.store.list(folder)) & {profile_file(handle) for handle in facts.handles})
        facts = replace(facts, languages=languages_of(old), pictures=pictures, signing_keys=self.signing_keys)
        new = card(self.job, facts, cast(Metrics, self.store.read_json(f"{folder}/metrics.json")))
        if new != old:
            self.store.write(f"{folder}/README.md", new.encode())

    def _files(self, task: PublishTask, weights: Path | None) -> dict[str, bytes]:
        """The files of a bot's folder by name, in the order in which an object store gets them: metrics.json last."""
        facts, trained = task.facts, task.trained_folder
        metrics = self.store.read_json(f"{trained}/training.json")["metrics"]
        learned = learned_tweets.read_learned(self.store, trained) if "continued" in metrics else None
        tweets = {handle: read_tweets(self.store, handle, learned).training for handle in facts.handles}
        pictures = self._pictures(facts.handles)
        faces = {handle: face for handle, picture in pictures.items() if (face := square(picture))}
        facts = replace(
            facts,
            languages=_languages(tweets),
            pictures=[profile_file(handle) for handle in faces],
            signing_keys=self.signing_keys,
        )
        found = weights.read_bytes() if weights else self.store.read(f"{trained}/{model_folder.WEIGHTS}")
        files = self.job.base.bot_files(found)
        files["README.md"] = card(self.job, facts, metrics).encode()
        # a blend has no name and no picture of its own
        name, picture = facts.names.get(facts.bot), pictures.get(facts.bot)
        files["predictions.png"] = draw(facts.handles, PROMPT, metrics["samples"][PROMPT], name=name, picture=picture)
        files |= {profile_file(handle): face for handle, face in faces.items()}
        files[RUNS_FILE] = runs_file([text for texts in tweets.values() for text in texts])
        files["stats.json"] = json_bytes(facts.stats)
        if facts.names or faces:
            files["profiles.json"] = json_bytes({"names": facts.names, "pictures": list(faces)})
        for file in (provenance.FILE, learned_tweets.FILE):
            files[file] = self.store.read(f"{trained}/{file}")
        files["metrics.json"] = json_bytes(metrics)
        lasting = {file: content for file, content in files.items() if file not in _REWRITTEN}
        return {checksums.FILE: checksums.of(lasting)} | files

    def _pictures(self, handles: Sequence[str]) -> dict[str, bytes]:
        """The profile pictures of the people whose tweets came with one."""
        found = {}
        for handle in handles:
            with suppress(FileNotFoundError):
                found[handle] = self.store.read(f"{PICTURES}/{handle}")
        return found


def _languages(tweets: Mapping[str, Sequence[str]]) -> list[str]:
    """The languages that people write in, found from a part of each person's tweets."""
    parts = (" ".join(texts[:_SAMPLE])[:_SAMPLE_CHARS] for texts in tweets.values())
    return sorted({code for part in parts if (code := language_of(part))})
