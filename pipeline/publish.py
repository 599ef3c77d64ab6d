"""A trained bot becomes a model folder that transformers loads as it is, with a card and a picture.

    publish(job, bots, progress, done)

`bots/{bot}/{version}/` is written whole or not at all; `bots/{bot}/current` follows last, in one step.
"""

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline import model, picture, pool, provenance
from pipeline.plan import Bot, Job, read_json
from pipeline.progress import Progress

PROMPT = "My dream is"
_SAMPLES = 5
_COUNTS = {"downloaded": "Tweets downloaded", "retweets": "Retweets", "short": "Short tweets", "kept": "Tweets kept"}


def publish(job: Job, bots: list[Bot], progress: Progress, done: Callable[[Bot], None]) -> None:
    """Publishes trained bots, on all the cluster's cores; one that cannot be published fails alone.

    `done` hears of each that is published.
    """
    tasks = [_task(bot) for bot in bots]
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


def _task(bot: Bot) -> dict[str, Any]:
    names = ("name", "version", "handles", "stats", "trained_folder", "folder", "warning")
    return {"bot": bot.name} | {name: getattr(bot, name) for name in names}


class Publisher(pool.Worker):
    """Holds a model skeleton that takes each bot's weights in turn, to let it say a few things."""

    def setup(self) -> None:
        from serve.engine import Engine

        with tempfile.TemporaryDirectory() as folder:
            self.engine = Engine(model.write_files(self.base, Path(folder)))

    def work(self, task: dict[str, Any]) -> dict[str, Any]:
        if not self.store.exists(f"{task['folder']}/metrics.json"):  # the last file that is written
            self.store.write_folder(task["folder"], self._files(task))
        self.store.write(f"bots/{task['name']}/current", task["version"].encode())
        self.store.delete(f"work/trained/{task['name']}")
        return {}

    def _files(self, task: dict[str, Any]) -> dict[str, bytes]:
        weights = self.store.read(f"{task['trained_folder']}/{model.WEIGHTS}")
        metrics = read_json(self.store, f"{task['trained_folder']}/training.json")["metrics"]
        samples = self._samples(weights)
        files = model.bot_files(self.base, weights, self.engine.separator)
        files["README.md"] = card(self.job, task, metrics, samples).encode()
        files["predictions.png"] = picture.draw(task["handles"], PROMPT, samples)
        files["stats.json"] = _json(task["stats"])
        files["samples.json"] = _json({"prompt": PROMPT, "samples": samples})
        files[provenance.FILE] = self.store.read(f"{task['trained_folder']}/{provenance.FILE}")
        files["metrics.json"] = _json(metrics)
        return files

    def _samples(self, weights: bytes) -> list[str]:
        """What the bot says to the prompt; the same at each publishing."""
        from serve.engine import Request
        from serve.schema import Parameters

        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / model.WEIGHTS
            path.write_bytes(weights)
            self.engine.load_weights(path)
        parameters = Parameters(num_return_sequences=_SAMPLES, seed=self.settings.seed)
        choices = self.engine.generate([Request(PROMPT, parameters)])[0]
        return [PROMPT + choice.text for choice in choices]


def card(job: Job, task: dict[str, Any], metrics: dict[str, Any], samples: list[str]) -> str:
    """The model card: README.md of a bot's folder."""
    return model.render(
        "card.md.j2",
        bot=task["name"],
        handles=task["handles"],
        people=" & ".join(f"@{handle}" for handle in task["handles"]),
        version=task["version"],
        base_model=job.fleet.base_model,
        counts=_COUNTS,
        tweets=task["stats"]["tweets"],
        train=job.train,
        metrics=metrics,
        warning=task["warning"],
        prompt=PROMPT,
        samples=samples,
    )


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()
