"""The fleet's voices, learned once and kept in the store: Ray and files around `measures.voice` and `.style`.

    voices = Voices(people, holdout=0.1)
    learn(job, voices, beside=False)         # work/voices/{group}.npz, each group whose people changed
    load(store, voices.of(["nasa"])).attribute(texts)

A group's file holds its classifier and its people's style; from all of them `learn` lays out the map of the
fleet, work/style.json.
"""

import contextlib
import hashlib
import io
import json
from typing import Any

import numpy as np
import ray

from pipeline.core import actor_pool, logs
from pipeline.core.store import Store
from pipeline.evaluate.measures import style
from pipeline.evaluate.measures.voice import VoiceClassifier, groups
from pipeline.plan.job import Job
from pipeline.prepare.index import Person
from pipeline.prepare.kept_tweets import read_tweets

MAP = "work/style.json"  # {"nasa": [x, y], …}
_FOLDER = "work/voices"
_FORMAT = 1  # of the files: raise it when another classifier or profile is to be learned
_MAPPED = 2000  # people on the map at most: a picture shows no more


class Voices:
    """Which group each of the fleet's people is in. A group is named by a hash of its people's tweets."""

    def __init__(self, people: dict[str, Person], holdout: float):
        self.groups: dict[str, list[str]] = {}
        self._of: dict[str, str] = {}
        if len(people) < 2:
            return  # nobody to tell apart from
        for handles in groups(list(people)):
            made_of = [[people[handle].digest for handle in handles], holdout, _FORMAT]
            name = hashlib.sha256(json.dumps([handles, *made_of]).encode()).hexdigest()[:12]
            self.groups[name] = handles
            self._of |= dict.fromkeys(handles, name)

    def of(self, handles: list[str]) -> str | None:
        """The group a bot is judged in: its person's, a blend's first person's; None in a fleet of one."""
        return next((self._of[handle] for handle in handles if handle in self._of), None)


def learn(job: Job, voices: Voices, beside: bool) -> None:
    """Writes what is not in the store yet, and the map anew where anything was missing."""
    known = job.store.list(_FOLDER)
    for name in known:
        if name.removesuffix(".npz") not in voices.groups:
            job.store.delete(f"{_FOLDER}/{name}")
    tasks = [{"bot": name, "handles": handles} for name, handles in voices.groups.items() if f"{name}.npz" not in known]
    for _, result in actor_pool.run_tasks(Learner, tasks, beside_training=beside, job=job):
        if isinstance(result, actor_pool.Failed):
            raise RuntimeError(f"the fleet's voices cannot be learned: {result.reason}")
    if tasks:
        draw_map: Any = ray.remote(_draw_map).options(num_cpus=0)
        ray.get(draw_map.remote(job.store, list(voices.groups)))


class Learner(actor_pool.Worker[dict[str, Any], None]):
    """Learns one group's voices, and its people's style; whose tweets cannot be read is left out."""

    verb = "learned"

    def __init__(self, job: Job):
        self.job, self.store = job, job.store

    def log(self, task: dict[str, Any]) -> Any:
        return logs.log(fleet=self.job.fleet.fleet, bot=task["bot"])

    def work(self, task: dict[str, Any]) -> None:
        tweets = {}
        for handle in task["handles"]:
            with contextlib.suppress(OSError, ValueError):  # that person's own bot fails, and says so
                tweets[handle] = read_tweets(self.store, handle).training
        tweets = {handle: texts for handle, texts in sorted(tweets.items()) if texts}
        arrays: dict[str, Any] = {
            "people": np.array(list(tweets)),
            "style": np.stack([style.profile(one) for one in tweets.values()]),
        }
        if len(tweets) > 1:
            voice = VoiceClassifier.fit(tweets)
            arrays |= {"idf": voice.idf, "weights": voice.weights, "bias": voice.bias}
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)
        self.store.write(_file(task["bot"]), buffer.getvalue())


def load(store: Store, group: str) -> VoiceClassifier | None:
    """A group's classifier; None where it has one person only."""
    with _arrays(store, group) as arrays:
        if "weights" not in arrays:
            return None
        return VoiceClassifier(arrays["people"].tolist(), arrays["idf"], arrays["weights"], arrays["bias"])


def _arrays(store: Store, group: str) -> Any:
    return np.load(io.BytesIO(store.read(_file(group))), allow_pickle=False)


def _file(group: str) -> str:
    return f"{_FOLDER}/{group}.npz"


def _draw_map(store: Store, names: list[str]) -> None:
    people: list[str] = []
    profiles: list[np.ndarray] = []
    for name in names:
        if len(people) < _MAPPED:
            with _arrays(store, name) as arrays:
                people += arrays["people"].tolist()
                profiles.append(arrays["style"])
    store.write(MAP, json.dumps(style.layout(people, np.concatenate(profiles))).encode())
