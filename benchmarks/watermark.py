"""Measures the watermark of `serve.watermark` on the published bots of fleets: is it found, and what does it change?

    python benchmarks/watermark.py fleet.yaml        # three bots, 200 posts each: some five minutes on one core

Each bot on mini writes as many posts marked as unmarked, half of them without a prompt. For each kind of posts, and for
real tweets, the script prints the share that the voice classifier attributes to the bot's person, mini's loss, and the
variety; then, for sets of different sizes, how many were found at p < 0.001, real tweets of all people of the fleets
among them. It writes nothing into a fleet's store.
"""

import argparse
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

os.environ |= {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}

import numpy as np
import torch

from pipeline.core import fleet as fleets
from pipeline.core import model_folder
from pipeline.core.own_code import ASSETS
from pipeline.core.store import Store
from pipeline.evaluate.measures.held_out import characters, per_tweet
from pipeline.evaluate.measures.variety import distinct
from pipeline.evaluate.measures.voice import VoiceClassifier
from pipeline.operate.detect import MAX_P
from pipeline.prepare.kept_tweets import Tweets, read_tweets
from pipeline.publish.card import PROMPT
from pipeline.train import packing
from pipeline.train.loss import token_losses
from serve.engine.engine import Engine
from serve.engine.parameters import MAX_CHOICES, Parameters
from serve.engine.request import Request
from serve.engine.text import Vocabulary
from serve.engine.watermark_search import Found, search

SIZES = (1, 10, 50, 200)


class Posts(NamedTuple):
    """Posts of a bot, and real tweets of its person."""

    marked: list[str]
    unmarked: list[str]
    unmarked_too: list[str]  # with other seeds: how much of a difference is chance
    real: list[str]


Search = Callable[[list[str]], Found]


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("fleets", type=Path, nargs="+", metavar="FLEET.yaml")
    options.add_argument("--posts", type=int, default=200, help="of each bot and kind")
    options.add_argument("--temperature", type=float, default=1.0)
    chosen = options.parse_args()
    torch.set_num_threads(1)
    parameters = Parameters(temperature=chosen.temperature)
    posts: dict[str, Posts] = {}
    sets: dict[str, list[tuple[Search, list[str]]]] = {kind: [] for kind in ("marked", "unmarked", "real")}
    voices: dict[str, VoiceClassifier] = {}
    for file in chosen.fleets:
        store = Store.of(fleets.load(file))
        people = {handle: read_tweets(store, handle) for handle in handles_in(store)}
        classifier = VoiceClassifier.fit({handle: tweets.training for handle, tweets in people.items()})
        for bot in people:
            if version := store.current_version(bot):
                secret = (len(posts) + 1).to_bytes(32, "big")
                engine = Engine(Path(store.path(f"bots/{bot}/{version}")))
                posts[bot] = own = Posts(
                    write(engine, secret, chosen.posts, parameters, seed=0),
                    write(engine, None, chosen.posts, parameters, seed=10_000),
                    write(engine, None, chosen.posts, parameters, seed=20_000),
                    real_posts(people[bot], chosen.posts),
                )
                voices[bot], search_bot = classifier, searching(engine.vocabulary, secret)
                sets["marked"].append((search_bot, own.marked))
                sets["unmarked"].append((search_bot, own.unmarked))
        sets["real"] += [(search_bot, real_posts(tweets, chosen.posts)) for tweets in people.values()]
    print(f"{len(posts)} bots, {chosen.posts} posts each, temperature {chosen.temperature:g}\n", flush=True)
    show_quality(posts, voices)
    show_found(sets)


def handles_in(store: Store) -> list[str]:
    """The people whose kept tweets are in the store."""
    return [name.removesuffix(".parquet") for name in store.list("work/tweets")]


def real_posts(tweets: Tweets, count: int) -> list[str]:
    """At most `count` of a person's tweets, those first from which no bot has learned."""
    return (tweets.held_out + tweets.training)[:count]


def searching(vocabulary: Vocabulary, secret: bytes) -> Search:
    """A function that looks for the watermark in texts."""
    return lambda texts: search(secret, [vocabulary.encode(text) for text in texts], vocabulary.separator)


def write(engine: Engine, secret: bytes | None, count: int, parameters: Parameters, seed: int) -> list[str]:
    """Posts of a bot, each with its prompt; their requests have seeds from `seed` on."""
    requests = []
    for number, first in enumerate(range(0, count, MAX_CHOICES)):
        given = {"seed": seed + number, "num_return_sequences": min(MAX_CHOICES, count - first)}
        prompt = PROMPT if number % 2 else ""
        requests.append(Request(prompt, parameters.model_copy(update=given), watermark=secret))
    answers = engine.generate(requests)
    return [
        f"{request.prompt}{choice.text}"
        for request, choices in zip(requests, answers, strict=True)
        for choice in choices
    ]


def show_found(sets: dict[str, list[tuple[Search, list[str]]]]) -> None:
    """Prints in how many sets of posts a watermark was found, and the most tokens of a marked set that was missed."""
    print("\n| posts in a set | tokens, median | " + " | ".join(sets) + " |\n|---|---|---|---|---|", flush=True)
    most_missed = 0
    for size in SIZES:
        cells = []
        for kind, members in sets.items():
            results = [
                search_bot(texts[start : start + size])
                for search_bot, texts in members
                for start in range(0, len(texts) - size + 1, max(size, 5))
            ]
            cells.append(f"{sum(one.p_value < MAX_P for one in results)} of {len(results)}")
            if kind == "marked":
                median = np.median([one.tokens for one in results]) if results else 0
                most_missed = max([most_missed, *(one.tokens for one in results if one.p_value >= MAX_P)])
        print(f"| {size} | {median:.0f} | " + " | ".join(cells) + " |", flush=True)
    print(f"\nmarked sets that were missed had {most_missed} tokens at most", flush=True)


def show_quality(posts: dict[str, Posts], voices: dict[str, VoiceClassifier]) -> None:
    """Prints voice, sense and variety of each bot's posts, by kind."""
    base = Vocabulary.of(ASSETS / "mini")
    network = model_folder.load_model(ASSETS / "mini").eval()

    def nats_per_character(texts: Sequence[str]) -> float:
        ids = [np.array(base.encode(text), np.int64) for text in texts]
        losses = token_losses(network, packing.join(ids, base.separator), 256, torch.device("cpu"))
        return float(per_tweet(losses, [len(one) + 1 for one in ids]).sum() / characters(texts).sum())

    measures: dict[str, Callable[[str, list[str]], float]] = {
        "voice": lambda bot, texts: float(np.mean([name == bot for name in voices[bot].attribute(texts)])),
        "nats per character": lambda bot, texts: nats_per_character(texts),
        "distinct-2": lambda bot, texts: distinct(texts, 2),
    }
    print("| measure | bot | " + " | ".join(Posts._fields) + " |\n|---|---|---|---|---|---|")
    for name, measure in measures.items():
        rows = np.array([[measure(bot, texts) for texts in own] for bot, own in posts.items()])
        for bot, row in zip([*posts, "mean"], [*rows, rows.mean(axis=0)], strict=True):
            print(f"| {name} | {bot} | " + " | ".join(f"{value:.3f}" for value in row) + " |", flush=True)


if __name__ == "__main__":
    main()
