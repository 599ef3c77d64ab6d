"""How well a bot learned its person: the loss on the tweets that training never saw, base and bot.

Lanes measure it while the model is in memory (finetune.Trainer.loss); `evaluate` does it for models in the
store, so that a new metric needs no new training.
"""

import json
import math
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from pipeline import finetune, model, pool
from pipeline.plan import Bot, Job, read_json
from pipeline.prepare import load_tweets
from pipeline.progress import Progress


def held_out(loss: float, base_loss: float, tokens: int) -> dict[str, Any]:
    """The `held_out` entry of metrics.json; losses in nats per token."""
    return {
        "loss": loss,
        "perplexity": perplexity(loss),
        "base_loss": base_loss,
        "base_perplexity": perplexity(base_loss),
        "tokens": tokens,
    }


def perplexity(loss: float) -> float:
    """e to the loss, held below what JSON can say."""
    return math.exp(min(loss, 700.0))


def evaluate(job: Job, bots: list[Bot], progress: Progress) -> None:
    """Measures the bots' models in the store, anew, on the cluster's cores; sets their metrics."""
    tasks = [{"bot": bot.name, "handles": bot.handles, **_places(bot)} for bot in bots]
    by_name = {bot.name: bot for bot in bots}
    progress.start("evaluate", len(bots))
    for row in pool.each(Evaluator, job, tasks):
        bot = by_name[row["bot"]]
        if row["error"]:
            bot.status, bot.reason = "failed", row["error"]
        else:
            bot.metrics |= row["result"]
        progress.advance(bot.name)


def _places(bot: Bot) -> dict[str, str]:
    """The folder of the bot's weights, and the file that carries its metrics."""
    if bot.status == "unchanged":
        return {"folder": bot.folder, "metrics": "metrics.json"}
    return {"folder": bot.trained_folder, "metrics": "training.json"}


class Evaluator(pool.Worker):
    """Holds the base model; measures one bot after another."""

    def setup(self) -> None:
        import torch

        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        with tempfile.TemporaryDirectory() as folder:
            self.network: Any = model.load_model(model.write_files(self.base, Path(folder))).eval()
            self.network.to(self.device)
            self.separator = model.separator_id(model.load_tokenizer(Path(folder)))
        self.base_state = {name: tensor.clone() for name, tensor in self.network.state_dict().items()}

    def work(self, task: dict[str, Any]) -> dict[str, Any]:
        held = [tweet for handle in task["handles"] for tweet in load_tweets(self.store, handle)[1]]
        stream = finetune.joined(held, self.separator)
        self.network.load_state_dict(self.base_state)
        base_loss = self._loss(stream)
        with tempfile.TemporaryDirectory() as folder:
            weights = self.store.fetch(task["folder"], Path(folder)) / model.WEIGHTS
            model.load_weights(self.network, weights)
        measured = {"held_out": held_out(self._loss(stream), base_loss, len(stream) - 1)}
        self._save(task, measured)
        return measured

    def _loss(self, stream: np.ndarray) -> float:
        def loss(blocks: Any) -> Any:
            return finetune.next_token_loss(self.network, blocks)

        return finetune.stream_loss(loss, stream, self.settings.block_size, self.device)

    def _save(self, task: dict[str, Any], measured: dict[str, Any]) -> None:
        name = f"{task['folder']}/{task['metrics']}"
        content = read_json(self.store, name)
        if task["metrics"] == "training.json":
            content["metrics"] = content.get("metrics", {}) | measured
        else:
            content |= measured
        self.store.write(name, json.dumps(content, indent=2).encode())
