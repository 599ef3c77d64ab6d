"""Measures how fast tweets become training data: our pipeline on all cores against one plain process, in one run.

    python benchmarks/prepare.py                              # 200,000 tweets of 1,000 people
    python benchmarks/prepare.py --tweets 1000000 4000000 --people 5000
    python benchmarks/prepare.py --tweets 4000000 --people 5000 --skip-reference

The tweets are made up. Each JSONL file holds those of a hundred people in mixed order (`--whole`: one CSV file per
person). One person has a fifth of all tweets; the others' shares follow Zipf's law. The time is from files to packed
blocks of one epoch. Ours is `prepare` and packing on Ray, without the start of Ray. The reference reads the same files,
applies the rules to one tweet at a time (tests/support/plain_rules.py), encodes lists of texts with the same tokenizer
on one core, and packs. With `--text-only` the reference starts from texts in memory instead of files. Memory is the
sampled peak of each process's unique set size (USS).
"""

import argparse
import json
import os
import random
import shutil
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
from ray.util import ActorPool
from tokenizers import Tokenizer

sys.path.insert(0, str(Path(__file__).parents[1]))  # for tests.support: the cleaning rules for one tweet

from pipeline.core.model_folder import tokenizer_json
from pipeline.core.own_code import ASSETS
from pipeline.core.settings import TweetSource
from pipeline.core.store import Store, resolve
from pipeline.prepare.dataset import prepare
from pipeline.prepare.kept_tweets import load_tweets
from pipeline.tweets import Record, find, read
from tests.support.plain_rules import clean

MIB = 2**20
SHARE_OF_ONE = 0.2  # of all tweets
PEOPLE_A_FILE = 100
SEPARATOR_ID, BLOCK = 0, 256
WORDS = 60_000  # size of the vocabulary of the made-up tweets


def main() -> None:
    os.environ |= {"TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": "1"}  # the reference uses one core
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--tweets",
        type=int,
        nargs="+",
        default=[200_000],
        help="numbers of tweets, one run each; the first also runs the reference",
    )
    parser.add_argument("--people", type=int, default=1_000)
    parser.add_argument("--whole", action="store_true", help="write one file per person")
    parser.add_argument("--skip-reference", action="store_true")
    parser.add_argument("--text-only", action="store_true", help="let the reference start from texts in memory")
    options = parser.parse_args()
    results = []
    with tempfile.TemporaryDirectory(prefix="prepare-") as folder:
        made, store = Path(folder) / "tweets", Path(folder) / "store"
        for tweets in options.tweets:
            make(made, tweets, options.people, options.whole)
            with_reference = not results and not options.skip_reference
            results.append({"tweets": tweets} | measure(made, store, with_reference, options.text_only))
            shutil.rmtree(made)
            shutil.rmtree(store)
    titles = ("tweets", "seconds", "tweets/s", "reference s", "tweets/s", "ratio", "driver MiB", "worker MiB")
    print("  ".join(f"{title:>11}" for title in titles))
    for one in results:
        count, ours, plain = one["tweets"], one["ours"], one.get("reference", float("nan"))
        row = (f"{count:,}", f"{ours:.1f}", f"{count / ours:,.0f}", f"{plain:.1f}", f"{count / plain:,.0f}")
        memory = (f"{one['driver'] / MIB:,.0f}", f"{one['worker'] / MIB:,.0f}")
        print("  ".join(f"{cell:>11}" for cell in (*row, f"{plain / ours:.2f}", *memory)))
    first = results[0]
    for one in results[1:]:
        print(
            f"{one['tweets'] / first['tweets']:.1f} times the tweets: {one['ours'] / first['ours']:.2f} times the time"
        )


def measure(made: Path, storage: Path, with_reference: bool, text_only: bool) -> dict[str, float]:
    """Returns the seconds of both and our peaks of memory. Both must produce the same number of tokens."""
    import ray

    from pipeline.core.ray_session import ensure, session

    result: dict[str, float] = {}
    if with_reference:
        started = time.perf_counter()
        blocks, reading = reference(made)
        result["reference"] = time.perf_counter() - started - (reading if text_only else 0)
    with session():
        ensure()
        lanes = [ray.remote(num_cpus=0)(Lane).remote() for _ in range(int(ray.cluster_resources()["CPU"]))]
        ray.get([lane.ready.remote() for lane in lanes])
        started = time.perf_counter()
        with Memory() as memory:
            store, people = prepared(made, storage)
        packed = sum(ActorPool(lanes).map_unordered(lambda lane, some: lane.pack.remote(store, some), people))
        result |= {"ours": time.perf_counter() - started, "driver": memory.driver, "worker": memory.worker}
    if with_reference and packed != blocks:
        raise SystemExit(f"{packed} tokens in blocks, and the reference has {blocks}")
    return result


def prepared(made: Path, storage: Path) -> tuple[Store, list[list[str]]]:
    """Runs `prepare`; returns where the tweets are, and their people in one portion per lane."""
    store = Store(*resolve(str(storage)))
    found = prepare(find([TweetSource(path=str(made))]), store, tokenizer_json(ASSETS / "mini"), holdout=0.1)
    handles = sorted(found.people, key=lambda handle: -found.people[handle].tokens)
    return store, [handles[start : start + 50] for start in range(0, len(handles), 50)]


class Lane:
    """A process that is started before the measurement, like a lane before it gets its first bot."""

    def ready(self) -> None:
        packed_tokens([])

    def pack(self, store: Store, handles: list[str]) -> int:
        people = (load_tweets(store, handle) for handle in handles)
        return sum(packed_tokens([*training, *held_out]) for training, held_out in people)


def packed_tokens(tweets: list[np.ndarray]) -> int:
    """Returns the number of tokens in the blocks of one epoch."""
    from pipeline.train.packing import pack

    return pack([tweets], SEPARATOR_ID, BLOCK, epochs=1, seed=0).size if tweets else 0


def reference(made: Path) -> tuple[int, float]:
    """Runs the reference in one process; returns the number of tokens in blocks, and the seconds spent on reading."""
    packed_tokens([])  # imports are not timed, as for the lanes
    started = time.perf_counter()
    records = [one for file in find([TweetSource(path=str(made))]) for one in read(file) if isinstance(one, Record)]
    reading = time.perf_counter() - started
    tokenizer = Tokenizer.from_str(tokenizer_json(ASSETS / "mini"))
    tokenizer.encode_special_tokens = True
    texts: dict[str, list[str]] = defaultdict(list)
    for record in records:
        verdict, text = clean(record.text, record.retweet)
        if verdict == "kept":
            texts[record.handle].append(text)
    blocks = 0
    for kept in texts.values():
        encoded = tokenizer.encode_batch(kept, add_special_tokens=False)
        blocks += packed_tokens([np.array(one.ids, np.int32) for one in encoded])
    return blocks, reading


class Memory(threading.Thread):
    """Samples the peak of unshared memory, in bytes, of this process and of its largest Ray worker."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.driver = self.worker = 0
        self._end = threading.Event()

    def __enter__(self) -> "Memory":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self.join()

    def run(self) -> None:
        me = psutil.Process()
        while not self._end.wait(0.5):
            self.driver = max(self.driver, me.memory_full_info().uss)
            for process in me.children(recursive=True):
                try:
                    if process.name().startswith("ray::") and "Lane" not in process.name():
                        self.worker = max(self.worker, process.memory_full_info().uss)
                except psutil.Error:
                    continue


# made-up tweets ----------------------------------------------------------------------------------------------------


def make(folder: Path, tweets: int, people: int, whole: bool) -> None:
    """Writes files of made-up tweets, the same in every run."""
    rng = random.Random(0)
    vocabulary = _vocabulary(rng)
    shares = [1 / (rank + 10) for rank in range(people - 1)]
    counts = [int(tweets * SHARE_OF_ONE)]
    counts += [max(1, int(tweets * (1 - SHARE_OF_ONE) * share / sum(shares))) for share in shares]
    counts[1] += tweets - sum(counts)
    folder.mkdir(parents=True)
    ids = iter(range(10**18, 10**18 + 2 * tweets))
    texts = _texts(rng, vocabulary)
    if whole:
        for number, count in enumerate(counts):
            with (folder / f"user{number}.jsonl").open("w") as file:
                for _ in range(count):
                    file.write(_line(next(ids), None, next(texts)))
        return
    for start in range(0, people, PEOPLE_A_FILE):
        owners = [f"user{i}" for i in range(start, min(start + PEOPLE_A_FILE, people)) for _ in range(counts[i])]
        rng.shuffle(owners)
        with (folder / f"part{start // PEOPLE_A_FILE:05}.jsonl").open("w") as file:
            for owner in owners:
                file.write(_line(next(ids), owner, next(texts)))


def _line(number: int, owner: str | None, text: str) -> str:
    user = f'"screen_name": "{owner}", ' if owner else ""
    return f'{{"id_str": "{number}", {user}"created_at": "2026-01-02T03:04:05Z", "text": {json.dumps(text)}}}\n'


def _vocabulary(rng: random.Random) -> list[str]:
    """Returns made-up words, common ones first; common words are shorter."""
    parts = [
        "ka",
        "lo",
        "mer",
        "ti",
        "sun",
        "bra",
        "e",
        "ing",
        "th",
        "or",
        "an",
        "pel",
        "dri",
        "o",
        "ness",
        "qui",
        "ve",
    ]
    return ["".join(rng.choices(parts, k=1 + (i > 20) + (i > 300) + (i > 5_000))) for i in range(WORDS)]


def _texts(rng: random.Random, vocabulary: list[str]) -> Iterator[str]:
    """Yields tweets of about sixteen words, with links, mentions, hashtags, entities and emoji as in real tweets."""
    extras = ["https://t.co/aB3dE5gH7j", "@somebody", "#something", "&amp;", "😀", "…", "it's", "2026", "don’t", "\n"]
    common = [vocabulary[int(WORDS ** rng.random())] for _ in range(500_000)]  # Zipf's law: 1 / rank
    while True:
        words = rng.choices(common, k=max(1, int(rng.gauss(16, 7))))
        for _ in range(rng.choice((0, 0, 1, 1, 2, 3))):
            words.insert(rng.randrange(len(words) + 1), rng.choice(extras))
        text = " ".join(words)
        yield f"RT @user1: {text}" if rng.random() < 0.2 else f"{text[0].upper()}{text[1:]}."


if __name__ == "__main__":
    main()
