"""A trained bot becomes a model folder that transformers loads as it is, with a card and a picture.

    publish(job, bots, progress, done)

`bots/{bot}/{version}/` is written whole or not at all; `bots/{bot}/current` follows last, in one step.
"""

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline import checksums, continuing, model, picture, pool, provenance
from pipeline.card import PROMPT, card, facts
from pipeline.measures.copying import RUNS_FILE, runs_file
from pipeline.people import PICTURES
from pipeline.plan import Bot, Job, read_json
from pipeline.prepare import read_tweets
from pipeline.progress import Progress


def publish(job: Job, bots: list[Bot], progress: Progress, done: Callable[[Bot], None]) -> None:
    """Publishes bots, on all the cluster's cores; one that cannot be published fails alone.

    Trained bots are evaluated ones: their samples are in their metrics. Of a published bot the card is written
    anew. `done` hears of each that is published.
    """
    places = [{name: getattr(bot, name) for name in ("trained_folder", "folder")} for bot in bots]
    tasks = [facts(job, bot) | place for bot, place in zip(bots, places, strict=True)]
    by_name = {bot.name: bot for bot in bots}
    progress.start("publish", len(bots))
    for row in pool.each(Publisher, job, tasks):
        bot = by_name[row["bot"]]
        if row["error"]:
            bot.status, bot.reason = "failed", f"not published: {row['error']}"
            progress.advance(f"{bot.name} {bot.reason}")
        else:
            done(bot)
            progress.advance(bot.name)


_WRITTEN_ANEW = ("README.md", "metrics.json")  # by later commands, without a new version


class Publisher(pool.Worker):
    """Makes model folders; a bot that has its folder already gets a new card."""

    def setup(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            self.separator = model.separator_id(model.load_tokenizer(model.write_files(self.base, Path(folder))))

    def work(self, task: dict[str, Any]) -> dict[str, Any]:
        folder, bot = task["folder"], task["bot"]
        if not self.store.exists(f"{folder}/metrics.json"):  # the last file that is written
            self.store.write_folder(folder, self._files(task))
        else:
            new = card(self.job, task, read_json(self.store, f"{folder}/metrics.json")).encode()
            if new != self.store.read(f"{folder}/README.md"):
                self.store.write(f"{folder}/README.md", new)
        self.store.write(f"bots/{bot}/current", task["version"].encode())
        self.store.delete(f"work/trained/{bot}")
        return {}

    def _files(self, task: dict[str, Any]) -> dict[str, bytes]:
        trained = task["trained_folder"]
        metrics = read_json(self.store, f"{trained}/training.json")["metrics"]
        samples = metrics["samples"][PROMPT]
        known = continuing.learned(self.store, trained) if "continued" in metrics else None
        training = [text for handle in task["handles"] for text in read_tweets(self.store, handle, known).training]
        weights = self.store.read(f"{trained}/{model.WEIGHTS}")
        files = model.bot_files(self.base, weights, self.separator)
        files["README.md"] = card(self.job, task, metrics).encode()
        files["predictions.png"] = picture.draw(
            task["handles"], PROMPT, samples, name=_name(task), picture=self._picture(task["bot"])
        )
        files[RUNS_FILE] = runs_file(training)
        files["stats.json"] = _json(task["stats"])
        for name in (provenance.FILE, continuing.FILE):
            files[name] = self.store.read(f"{trained}/{name}")
        files["metrics.json"] = _json(metrics)
        lasting = {name: data for name, data in files.items() if name not in _WRITTEN_ANEW}
        return {checksums.FILE: checksums.of(lasting)} | files

    def _picture(self, bot: str) -> bytes | None:
        """The person's profile picture, where a file of tweets came with one; a blend has none."""
        try:
            return self.store.read(f"{PICTURES}/{bot}")
        except FileNotFoundError:
            return None


def _name(task: dict[str, Any]) -> str | None:
    """The person's name as it is displayed; a blend has none."""
    return task["names"].get(task["bot"])


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()
