"""A trained bot becomes a model folder that transformers loads as it is, with a card and a picture.

    publish(job, bots, progress, done)          # or, where bots are evaluated anyway: Publishing(…).publish(task)

`bots/{bot}/{version}/` is written whole or not at all; `bots/{bot}/current` follows last, in one step.
"""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from pipeline.core import actor_pool, checksums, logs, model_folder
from pipeline.core.json_file import json_bytes
from pipeline.core.picture import draw, profile_file, square
from pipeline.core.progress import Progress
from pipeline.core.word_runs import RUNS_FILE, runs_file
from pipeline.plan import provenance
from pipeline.plan.bot import Bot
from pipeline.plan.job import Job
from pipeline.prepare.filters import language_of
from pipeline.prepare.kept_tweets import read_tweets
from pipeline.prepare.people import PICTURES
from pipeline.publish.card import PROMPT, card, facts, languages_of
from pipeline.train import learned_tweets

_WRITTEN_ANEW = ("README.md", "metrics.json")  # by later commands, without a new version
_SAMPLE, _SAMPLE_CHARS = 50, 2000  # tweets, and characters of them, that tell somebody's language: some 3 ms


def publish(job: Job, bots: list[Bot], progress: Progress, done: Callable[[Bot], None]) -> None:
    """Publishes bots, on all the cluster's cores; one that cannot be published fails alone.

    Trained bots are evaluated ones: their samples are in their metrics. Of a published bot the card is written
    anew. `done` hears of each that is published.
    """
    places = [{name: getattr(bot, name) for name in ("trained_folder", "folder")} for bot in bots]
    tasks = [facts(job, bot) | place for bot, place in zip(bots, places, strict=True)]
    by_name = {bot.name: bot for bot in bots}
    for task, result in actor_pool.run_tasks(Publisher, tasks, job=job):
        bot = by_name[task["bot"]]
        if isinstance(result, actor_pool.Failed):
            bot.status, bot.reason = "failed", f"not published: {result.reason}"
            progress.advance(f"{bot.name} {bot.reason}", bot=bot)
        else:
            done(bot)
            progress.advance(bot.name, bot=bot)


class Publisher(actor_pool.Worker[dict[str, Any], None]):
    """Of the pool for what is not published beside its evaluation."""

    verb = "published"
    uses_gpu = False

    def __init__(self, job: Job):
        self.job, self.publishing = job, Publishing(job)

    def log(self, task: dict[str, Any]) -> Any:
        return logs.log(fleet=self.job.fleet.fleet, bot=task["bot"], version=task["version"])

    def work(self, task: dict[str, Any]) -> None:
        self.publishing.publish(task)


class Publishing:
    """Makes model folders; a bot that has its folder already gets a new card."""

    def __init__(self, job: Job):
        self.job, self.store = job, job.store

    def publish(self, task: dict[str, Any]) -> None:
        """`task`: what a card tells (card.facts), and the places `trained_folder` and `folder`."""
        folder, bot = task["folder"], task["bot"]
        if not self.store.exists(f"{folder}/metrics.json"):  # the last file that is written
            self.store.write_folder(folder, self._files(task))
        else:
            self._renew(task)
        self.store.write(f"bots/{bot}/current", task["version"].encode())
        self.store.delete(f"work/trained/{bot}")

    def _renew(self, task: dict[str, Any]) -> None:
        """A published bot's card anew, with the languages that it tells and the pictures that lie beside it."""
        folder = task["folder"]
        old = self.store.read(f"{folder}/README.md").decode()
        pictures = sorted(set(self.store.list(folder)) & {profile_file(handle) for handle in task["handles"]})
        facts = task | {"languages": languages_of(old), "pictures": pictures}
        new = card(self.job, facts, self.store.read_json(f"{folder}/metrics.json"))
        if new != old:
            self.store.write(f"{folder}/README.md", new.encode())

    def _files(self, task: dict[str, Any]) -> dict[str, bytes]:
        trained = task["trained_folder"]
        metrics = self.store.read_json(f"{trained}/training.json")["metrics"]
        samples = metrics["samples"][PROMPT]
        known = learned_tweets.read_learned(self.store, trained) if "continued" in metrics else None
        tweets = {handle: read_tweets(self.store, handle, known).training for handle in task["handles"]}
        training = [text for texts in tweets.values() for text in texts]
        pictures = self._pictures(task["handles"])
        faces = {handle: face for handle, picture in pictures.items() if (face := square(picture))}
        languages = sorted({code for texts in tweets.values() if (code := language_of(_sample(texts)))})
        weights = self.store.read(f"{trained}/{model_folder.WEIGHTS}")
        files = self.job.base.bot_files(weights)
        told = {"languages": languages, "pictures": [profile_file(handle) for handle in faces]}
        files["README.md"] = card(self.job, task | told, metrics).encode()
        files["predictions.png"] = draw(
            task["handles"], PROMPT, samples, name=_name(task), picture=pictures.get(task["bot"])
        )
        files |= {profile_file(handle): face for handle, face in faces.items()}
        files[RUNS_FILE] = runs_file(training)
        files["stats.json"] = json_bytes(task["stats"])
        if task["names"] or faces:
            files["profiles.json"] = json_bytes({"names": task["names"], "pictures": list(faces)})
        for name in (provenance.FILE, learned_tweets.FILE):
            files[name] = self.store.read(f"{trained}/{name}")
        files["metrics.json"] = json_bytes(metrics)
        lasting = {name: data for name, data in files.items() if name not in _WRITTEN_ANEW}
        return {checksums.FILE: checksums.of(lasting)} | files

    def _pictures(self, handles: list[str]) -> dict[str, bytes]:
        """The profile pictures of those people whose tweets came with one."""
        found = {}
        for handle in handles:
            with suppress(FileNotFoundError):
                found[handle] = self.store.read(f"{PICTURES}/{handle}")
        return found


def _sample(texts: list[str]) -> str:
    """Enough of somebody's tweets to tell their language by."""
    return " ".join(texts[:_SAMPLE])[:_SAMPLE_CHARS]


def _name(task: dict[str, Any]) -> str | None:
    """The person's name as it is displayed; a blend has none."""
    return task["names"].get(task["bot"])
