"""What the bots are worth, measured in bulk on the cluster, beside training: Ray around `measures`.

    evaluation = Evaluation(job, prepared.people, beside=True, publish=True)
    evaluation.begin()                    # the pool starts, while lanes do
    evaluation.add(bot)                   # from any thread, as bots are trained; measuring begins
    evaluation.settle(progress)           # waits for the rest; the bots' metrics are set; those that are published

First the fleet's voices are learned (voices.py). Then a pool of actors measures one bot after another: loss on
the held-out tweets, and what 64 samples say of voice, copying, variety and safety. `evaluate` does it anew for
models in the store: a new metric needs no new training. With `publish` a trained bot is published as soon as it is
measured, by whoever measured it.
"""

import json
import os
import queue
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from pipeline.core import actor_pool, logs, model_folder, onednn
from pipeline.core.errors import UserError, one_line
from pipeline.core.progress import Progress
from pipeline.evaluate import voices
from pipeline.evaluate.measures.copying import copying
from pipeline.evaluate.measures.held_out import characters, held_out, per_tweet
from pipeline.evaluate.measures.safety import read_block_list, safety
from pipeline.evaluate.measures.variety import variety
from pipeline.evaluate.measures.voice import VoiceClassifier, voice
from pipeline.plan.bot import Bot
from pipeline.plan.bots import MIN_CHARS
from pipeline.plan.job import Job
from pipeline.prepare.index import Person
from pipeline.prepare.kept_tweets import Tweets, read_tweets
from pipeline.publish.card import PROMPT, card, facts
from pipeline.train import packing
from pipeline.train.learned_tweets import read_learned
from pipeline.train.loss import token_losses

MEASURED = {"held_out", "voice", "copying", "variety", "safety", "samples"}  # keys of metrics.json set here
PROMPTS = (PROMPT, "I think", "Today", "The best thing about")  # share one half of the samples; none has the other
_SHOWN = 5  # samples of PROMPT and as many without a prompt stay in metrics.json
_CHOICES = 8  # of one request


def missing(bot: Bot) -> bool:
    return not bot.metrics.keys() >= MEASURED


class Evaluation(threading.Thread):
    """The driver's side: a thread that reads the pool's rows while the driver trains."""

    def __init__(self, job: Job, people: dict[str, Person], beside: bool, publish: bool = False):
        super().__init__(daemon=True, name="evaluation")
        self.job, self.beside, self.publish = job, beside, publish
        enough = {handle: person for handle, person in people.items() if person.chars >= MIN_CHARS}
        self.voices = voices.Voices(enough, job.train.holdout)
        self.bots: dict[str, Bot] = {}
        self.results: queue.SimpleQueue[tuple[dict[str, Any], Any]] = queue.SimpleQueue()
        self.error: str | None = None  # that ended it
        self.feed: actor_pool.Feed[dict[str, Any]] | None = None
        self.block_list = _block_list(job.fleet.evaluate.block_list)

    def begin(self) -> None:
        """Starts the pool, where bots are sure to come."""
        if self.feed is None:
            self.feed = actor_pool.Feed()
            self.start()

    def add(self, bot: Bot) -> None:
        """A bot whose model is in the store."""
        self.begin()
        assert self.feed is not None
        published = bot.status == "unchanged"
        folder, file = (bot.folder, "metrics.json") if published else (bot.trained_folder, "training.json")
        self.bots[bot.name] = bot
        place: dict[str, Any] = {
            "folder": folder,
            "file": file,
            "published": published,
            "continued": "continued" in bot.metrics,
        }
        if self.publish and not published:
            place["publish"] = {"trained_folder": bot.trained_folder, "folder": bot.folder}
        self.feed.add(facts(self.job, bot) | place | {"group": self.voices.of(bot.handles)})

    def run(self) -> None:
        try:
            voices.learn(self.job, self.voices, self.beside)
            assert self.feed is not None
            arguments = {"job": self.job, "block_list": self.block_list}
            for result in actor_pool.run_tasks(Evaluator, self.feed, beside_training=self.beside, **arguments):
                self.results.put(result)
        except Exception as error:
            self.error = one_line(error)

    def close(self) -> None:
        """No bot will come any more."""
        if self.feed is not None:
            self.feed.close()

    def settle(self, progress: Progress) -> list[Bot]:
        """Waits for the bots that came, no others will, and sets their metrics; returns those that are published."""
        if self.feed is None:
            return []
        self.close()
        progress.start("evaluate", len(self.bots))
        left, done = dict(self.bots), []
        while left and (self.is_alive() or not self.results.empty()):
            try:
                task, result = self.results.get(timeout=0.3)
            except queue.Empty:
                continue
            bot = left.pop(task["bot"])
            if isinstance(result, actor_pool.Failed):
                bot.status, bot.reason = "failed", f"not evaluated: {result.reason}"
            else:
                bot.metrics |= result["metrics"]
                bot.seconds |= result["seconds"]
                if problem := result["problem"]:
                    bot.status, bot.reason = "failed", problem
                elif "publish" in bot.seconds:
                    done.append(bot)
            progress.advance(_told(bot), bot=bot)
        for bot in left.values():
            bot.status, bot.reason = "failed", f"not evaluated: {self.error or 'the pool of workers ended'}"
            progress.advance(bot=bot)
        self.join()
        return done


def _told(bot: Bot) -> str:
    if bot.status == "failed":
        return f"{bot.name} {bot.reason}"
    sounds = bot.metrics["voice"].get("top1")
    known = f"{sounds:.0%} taken for their person's, " if sounds is not None else ""
    return f"{bot.name}: {known}{bot.metrics['copying']['exact']:.0%} copies"


def _block_list(path: str | None) -> frozenset[str] | None:
    """Raises UserError where the file of `evaluate.block_list` cannot be read."""
    if path is None:
        return None
    try:
        return read_block_list(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"evaluate.block_list: {path}: cannot be read: {one_line(error)}") from None


def _take_one_gpu() -> None:
    """Beside training a worker claims no GPU, and Ray shows it all of the node's: they spread over them."""
    import torch

    if (count := torch.cuda.device_count()) > 1:  # asks the driver, and settles on none yet
        shown = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(count)))
        os.environ["CUDA_VISIBLE_DEVICES"] = shown.split(",")[os.getpid() % count]


class Evaluator(actor_pool.Worker[dict[str, Any], dict[str, Any]]):
    """Holds the base model, and the serving engine; measures one bot after another."""

    verb = "measured"

    def __init__(self, job: Job, block_list: frozenset[str] | None):
        import torch

        from pipeline.publish.publishing import Publishing
        from serve.engine.engine import Engine

        self.job, self.store, self.settings, self.block_list = job, job.store, job.train, block_list
        _take_one_gpu()
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        with tempfile.TemporaryDirectory() as folder:
            self.network: Any = model_folder.load_model(job.base.write(Path(folder))).eval()
            self.network.to(self.device)
            if self.device.type == "cpu":
                onednn.patch_linear_layers(self.network)
            self.engine = Engine(Path(folder))
        self.base_state = {name: tensor.clone() for name, tensor in self.network.state_dict().items()}
        self.voices: dict[str, VoiceClassifier | None] = {}
        self.base_said = [text for _, text in self._say()]
        self.publishing = Publishing(job)

    def log(self, task: dict[str, Any]) -> Any:
        return logs.log(fleet=self.job.fleet.fleet, bot=task["bot"], version=task["version"])

    def work(self, task: dict[str, Any]) -> dict[str, Any]:
        if "publish" in task and not self.store.exists(f"{task['folder']}/{task['file']}"):
            # a worker that died since has published it
            metrics = self.store.read_json(f"{task['publish']['folder']}/metrics.json")
            return {"metrics": metrics, "seconds": {"evaluate": 0.0}, "problem": None}
        started = time.perf_counter()
        measured = self._measure(task)
        self._save(task, measured)
        seconds, problem = {"evaluate": round(time.perf_counter() - started, 3)}, None
        if "publish" in task:
            started = time.perf_counter()
            try:
                self.publishing.publish(task | task["publish"])
                seconds["publish"] = round(time.perf_counter() - started, 3)
                self.log(task).info("published in %.1f s", seconds["publish"])
            except Exception as error:
                problem = f"not published: {one_line(error)}"
                self.log(task).warning(problem)
        return {"metrics": measured, "seconds": seconds, "problem": problem}

    def _measure(self, task: dict[str, Any]) -> dict[str, Any]:
        known = read_learned(self.store, task["folder"]) if task["continued"] else None
        people = [read_tweets(self.store, handle, known) for handle in task["handles"]]
        training = [text for tweets in people for text in tweets.training]
        real = [text for tweets in people for text in tweets.held_out]
        with tempfile.TemporaryDirectory() as folder:
            weights = self.store.fetch(task["folder"], Path(folder)) / model_folder.WEIGHTS
            measured = {"held_out": self._held_out(people, weights)}
            self.engine.load_weights(weights)
        said = self._say()
        group = self._voice(task["group"])
        written, whole = [text for _, text in said], [f"{prompt}{text}" for prompt, text in said]
        free = [text for prompt, text in said if not prompt]
        return measured | {
            "voice": voice(group, task["handles"], written, self.base_said, real) if group else {"people": 1},
            "copying": copying(whole, training, real),
            "variety": variety(free, real),
            "safety": safety(written, self.block_list),
            "samples": {
                PROMPT: [PROMPT + text for prompt, text in said if prompt == PROMPT][:_SHOWN],
                "": free[:_SHOWN],
            },
        }

    def _held_out(self, people: list[Tweets], weights: Path) -> dict[str, Any]:
        ids = [ids for tweets in people for ids in tweets.held_out_ids]
        stream = packing.join(ids, self.engine.separator)
        lengths = [len(one) + 1 for one in ids]
        self.network.load_state_dict(self.base_state)
        base = self._losses(stream, lengths)
        model_folder.load_weights(self.network, weights)
        texts = [text for tweets in people for text in tweets.held_out]
        return held_out(self._losses(stream, lengths), base, lengths, characters(texts))

    def _losses(self, stream: Any, lengths: list[int]) -> Any:
        return per_tweet(token_losses(self.network, stream, self.settings.block_size, self.device), lengths)

    def _voice(self, group: str | None) -> VoiceClassifier | None:
        """The classifier of a group; the last one is kept."""
        if group is not None and group not in self.voices:
            self.voices = {group: voices.load(self.store, group)}
        return self.voices[group] if group else None

    def _say(self) -> list[tuple[str, str]]:
        """What the engine's model goes on with, as (prompt, text); the same at each evaluation."""
        from serve.engine.engine import Request
        from serve.engine.parameters import Parameters

        count = self.job.fleet.evaluate.samples
        prompts = [""] * (count - count // 2) + [PROMPTS[i * len(PROMPTS) // (count // 2)] for i in range(count // 2)]
        requests = []
        for seed, start in enumerate(range(0, count, _CHOICES)):
            for prompt in dict.fromkeys(prompts[start : start + _CHOICES]):
                n = prompts[start : start + _CHOICES].count(prompt)
                requests.append(Request(prompt, Parameters(num_return_sequences=n, seed=seed)))
        answers = self.engine.generate(requests)
        return [
            (str(request.prompt), choice.text)
            for request, choices in zip(requests, answers, strict=True)
            for choice in choices
        ]

    def _save(self, task: dict[str, Any], measured: dict[str, Any]) -> None:
        """Into what the lane wrote; a published bot's card tells of it, too."""
        name = f"{task['folder']}/{task['file']}"
        content = self.store.read_json(name)
        metrics = (content if task["published"] else content.get("metrics", {})) | measured
        content = metrics if task["published"] else content | {"metrics": metrics}
        self.store.write(name, (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode())
        if task["published"]:
            self.store.write(f"{task['folder']}/README.md", card(self.job, task, metrics).encode())
