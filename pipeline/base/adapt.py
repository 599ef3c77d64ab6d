"""Adapts a base model to all of a fleet's tweets, so that its bots start from a base that knows the population.

    huggingtweets run fleet.yaml --set adapt=true        # adapts, then trains the bots on the result
    huggingtweets pretrain fleet.yaml --from gpt2        # adapts alone, into the folder `pretrain.out`

The base learns from people's training tweets, never from those held out. It learns nothing from a share of the people
(`adapt.holdout`, chosen by the hash of the handle): the loss on them shows what a person gains who joins later.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, TypedDict, cast

import numpy as np
import pyarrow as pa
import ray
import ray.data

from pipeline.base.training import BaseMetrics, train_model
from pipeline.base.worker import HELD_OUT_TOKENS, RunSettings
from pipeline.core import model_folder
from pipeline.core.errors import UserError
from pipeline.core.model_folder import ModelFolder
from pipeline.core.progress import Progress
from pipeline.core.ray_session import capacity, ensure
from pipeline.core.store import Store
from pipeline.core.weights import weight_bytes
from pipeline.plan.job import Job
from pipeline.prepare.index import Person, Prepared
from pipeline.prepare.kept_tweets import load_tweets

FOLDER = "work/adapted"  # in the store: a folder for each adapted base
METRICS = "adapted.json"
_PEOPLE_PER_BLOCK = 64  # of the data set


class AdaptMetrics(BaseMetrics):
    """The content of `METRICS`."""

    people: int  # that the base learned from
    held_out_people: int


class Learned(TypedDict):
    """The entry `learned` of `METRICS` in the store: the base's content hash, and whose tweets it learned from."""

    hash: str
    handles: list[str]


def bases_with(store: Store, handle: str) -> list[str]:
    """The content hashes of the store's adapted bases that learned from this person, or do not say from whom."""
    found = []
    for name in store.list(FOLDER):
        learned: Learned | None = store.read_json(f"{FOLDER}/{name}/{METRICS}").get("learned")
        if learned is None:  # it was made before bases said so
            files = [file for file in store.list(f"{FOLDER}/{name}") if file != METRICS]
            base = ModelFolder({file: store.read(f"{FOLDER}/{name}/{file}") for file in files})
            learned = Learned(hash=base.content_hash, handles=[handle])
        if handle in learned["handles"]:
            found.append(learned["hash"])
    return found


def adapted(job: Job, prepared: Prepared, progress: Progress, make: bool) -> Job:
    """The job, of a fleet with the section `adapt`, with the adapted base in place of its own.

    `make` says whether to adapt the base where that was not done yet; else such a job is unchanged.
    """
    assert job.fleet.adapt
    folder = f"{FOLDER}/{identity(job, prepared)}"
    if not job.store.exists(f"{folder}/{METRICS}"):  # the last file that is written
        if not make:
            return job
        files, metrics = adapt(job, prepared, progress)
        people, _ = split(prepared, job.fleet.adapt.holdout)
        learned = Learned(hash=ModelFolder(files).content_hash, handles=[person.handle for person in people])
        record = json.dumps({**metrics, "learned": learned}, indent=2)
        job.store.write_folder(folder, files | {METRICS: record.encode()})
    files = {name: job.store.read(f"{folder}/{name}") for name in job.store.list(folder) if name != METRICS}
    shown = job.store.read_json(f"{folder}/{METRICS}")
    progress.say(
        f"base adapted to {shown['people']:,} people: loss on {shown['held_out_people']:,} others "
        f"{shown['loss_before']:.3f} → {shown['held_out_loss']:.3f}"
    )
    return replace(job, base=ModelFolder(files))


def adapt(job: Job, prepared: Prepared, progress: Progress) -> tuple[dict[str, bytes], AdaptMetrics]:
    """Trains the job's base on the prepared tweets; returns the model folder's files and the metrics.

    Raises UserError if too few people are left to learn from.
    """
    ensure()
    settings = job.fleet.adapt
    assert settings is not None
    learning, held_out = split(prepared, settings.holdout)
    if not learning or not held_out:
        raise UserError(f"adapt: this fleet has {len(prepared.people)} people with tweets; it needs at least two")
    gpus, cores = capacity()
    run = RunSettings(
        name=f"adapt-{identity(job, prepared)}",
        separator=job.base.separator,
        block_size=job.train.block_size,
        workers=settings.workers if settings.workers != "auto" else gpus or cores,
        weight_decay=0.0,
        precision=job.train.precision,
        seed=job.train.seed,
        **settings.model_dump(include={"batch_size", "epochs", "learning_rate", "warmup_steps", "checkpoint_minutes"}),
    )
    texts = _texts(job.store, learning), _texts(job.store, enough_to_measure(held_out))
    trained = train_model(run, job.base, *texts, job.store, progress)
    weights = weight_bytes(trained.model.state_dict(), job.fleet.publish.dtype)
    kept = {name: data for name, data in job.base.files.items() if not name.endswith((".safetensors", ".index.json"))}
    metrics: AdaptMetrics = {**trained.metrics, "people": len(learning), "held_out_people": len(held_out)}
    return kept | {model_folder.WEIGHTS: weights}, metrics


def enough_to_measure(people: list[Person]) -> list[Person]:
    """The first of these people, in the order of a hash, whose tweets are enough to measure the loss on."""
    before = np.cumsum([0, *(person.tokens for person in people)])
    return [person for person, tokens in zip(people, before, strict=False) if tokens < HELD_OUT_TOKENS]


def split(prepared: Prepared, share: float) -> tuple[list[Person], list[Person]]:
    """The people to learn from, and the share of them (at least one) with the smallest hash of the handle."""
    people = sorted(prepared.people.values(), key=lambda one: hashlib.sha256(one.handle.encode()).digest())
    people = [person for person in people if person.tokens]
    count = max(1, int(len(people) * share))
    return people[count:], people[:count]


def identity(job: Job, prepared: Prepared) -> str:
    """Names an adapted base by what made it: 12 hex digits."""
    settings = job.fleet.adapt.model_dump(exclude={"checkpoint_minutes"}) if job.fleet.adapt else {}
    people = sorted(person.digest for person in prepared.people.values())
    shaping = job.train.model_dump(include={"block_size", "precision", "seed", "holdout"})
    made_of = [people, job.base.content_hash, settings, shaping, job.fleet.publish.dtype]
    return hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()[:12]


def _texts(store: Store, people: list[Person]) -> "ray.data.Dataset":
    """The people's training tweets as rows of `tokens` and `count`, read from the store by the cluster."""
    handles = [person.handle for person in people]
    blocks = max(1, -(-len(handles) // _PEOPLE_PER_BLOCK))
    source = ray.data.from_items([{"handle": handle} for handle in handles], override_num_blocks=blocks)
    return source.map_batches(cast(Any, _read), fn_kwargs={"store": store}, batch_format="pyarrow").materialize()


def _read(batch: pa.Table, store: Store) -> Iterator[pa.Table]:
    for handle in batch["handle"].to_pylist():
        tweets = load_tweets(store, handle)[0]
        numbers = pa.array([np.asarray(ids, np.int32) for ids in tweets], pa.list_(pa.int32()))
        yield pa.table({"tokens": numbers, "count": pa.array([len(ids) + 1 for ids in tweets], pa.int64())})
