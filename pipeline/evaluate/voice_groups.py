"""Trains the classifiers of a fleet's voices, one for each group of people, and keeps them in the store.

    groups = VoiceGroups(people, holdout=0.1)
    learn(job, groups, beside=False, say=print)     # work/voices/{group}.npz, for groups whose tweets changed
    load(store, groups.of(["nasa"])).classifier     # a VoiceClassifier

A group's file holds its classifier, its model of authorship, its vocabulary, and its people's style profiles. From the
profiles of all groups `learn` also makes the map of people by style (work/style.json). The computation is in measures/:
voice.py, authorship.py, sense.py and style_map.py.
"""

import contextlib
import hashlib
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import ray

from pipeline.core import actor_pool, logs
from pipeline.core.store import Store
from pipeline.evaluate.measures import style_map
from pipeline.evaluate.measures.authorship import AuthorshipModel
from pipeline.evaluate.measures.sense import vocabulary
from pipeline.evaluate.measures.voice import VoiceClassifier, groups
from pipeline.plan.job import Job
from pipeline.prepare.index import Person
from pipeline.prepare.kept_tweets import read_tweets

MAP = "work/style.json"  # {"nasa": [x, y], …}
_FOLDER = "work/voices"
_FORMAT = 3  # of the files; raise it when classifiers or profiles have to be made again
_MAPPED = 2000  # people on the map at most: a picture shows no more


class VoiceGroups:
    """The group of each of the fleet's people. A group's name is a hash of its people's tweets."""

    def __init__(self, people: Mapping[str, Person], holdout: float):
        """Splits people into groups; there is none for a single person, who cannot be told apart from anybody."""
        self.groups: dict[str, list[str]] = {}
        self._group_of: dict[str, str] = {}
        if len(people) < 2:
            return
        for handles in groups(list(people)):
            made_of = [[people[handle].digest for handle in handles], holdout, _FORMAT]
            name = hashlib.sha256(json.dumps([handles, *made_of]).encode()).hexdigest()[:12]
            self.groups[name] = handles
            self._group_of |= dict.fromkeys(handles, name)

    def of(self, handles: Sequence[str]) -> str | None:
        """The group in which a bot is judged: its person's, or a blend's first person's; None if there is none."""
        return next((self._group_of[handle] for handle in handles if handle in self._group_of), None)


@dataclass(frozen=True)
class Voices:
    """What a group's people are told apart with."""

    classifier: VoiceClassifier
    authorship: AuthorshipModel
    vocabulary: np.ndarray  # all words of their training tweets (measures/sense.py)


@dataclass(frozen=True)
class VoiceTask:
    """A group whose classifier is to be trained."""

    group: str
    handles: list[str]


def learn(job: Job, groups: VoiceGroups, beside: bool, say: Callable[[str], None]) -> None:
    """Trains the classifiers that the store lacks, deletes those of old groups, and updates the map.

    A classifier that cannot be trained, which `say` reports, fails the bots of its group alone.
    """
    known = job.store.list(_FOLDER)
    for name in known:
        if name.removesuffix(".npz") not in groups.groups:
            job.store.delete(f"{_FOLDER}/{name}")
    tasks = [VoiceTask(name, handles) for name, handles in groups.groups.items() if f"{name}.npz" not in known]
    failed = set()
    for task, result in actor_pool.run_tasks(VoiceLearner, tasks, beside_training=beside, job=job):
        if isinstance(result, actor_pool.Failed):
            failed.add(task.group)
            say(
                f"evaluate: the classifier of the voices of {len(task.handles)} people ({task.handles[0]} …) cannot be "
                f"trained, so that their bots are not evaluated: {result.reason}"
            )
    trained = [group for group in groups.groups if group not in failed]
    if tasks and trained:
        draw_map: Any = ray.remote(_draw_map).options(num_cpus=0)
        ray.get(draw_map.remote(job.store, trained))


class VoiceLearner(actor_pool.Worker[VoiceTask, None]):
    """Trains one group's classifier and makes its people's style profiles."""

    verb = "learned"

    def __init__(self, job: Job):
        self.job, self.store = job, job.store

    def log(self, task: VoiceTask) -> Any:
        """A logger whose lines name the group, in place of a bot."""
        return logs.log(fleet=self.job.fleet.fleet, bot=task.group)

    def work(self, task: VoiceTask) -> None:
        """Writes the group's file. People whose tweets cannot be read are left out."""
        tweets, held_out = {}, {}
        for handle in sorted(task.handles):
            with contextlib.suppress(OSError, ValueError):  # that person's own bot fails with the reason
                if (found := read_tweets(self.store, handle)).training:
                    tweets[handle], held_out[handle] = found.training, found.held_out
        arrays: dict[str, Any] = {
            "people": np.array(list(tweets)),
            "style": np.stack([style_map.profile(texts) for texts in tweets.values()]),
        }
        if len(tweets) > 1:
            classifier = VoiceClassifier.fit(tweets)
            arrays |= {"idf": classifier.idf, "weights": classifier.weights, "bias": classifier.bias}
            authorship = AuthorshipModel.fit(tweets, held_out)
            arrays |= {"words": np.array(authorship.words), "ngrams": np.array(authorship.ngrams)}
            arrays |= {"ratios": authorship.weights, "scores": authorship.scores}
            arrays |= {"vocabulary": vocabulary(text for texts in tweets.values() for text in texts)}
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)
        self.store.write(_file(task.group), buffer.getvalue())


def load(store: Store, group: str) -> Voices | None:
    """What a group's people are told apart with; None if tweets of one of its people only could be read."""
    with _arrays(store, group) as arrays:
        if "weights" not in arrays:
            return None
        people, words, ngrams = (arrays[name].tolist() for name in ("people", "words", "ngrams"))
        return Voices(
            VoiceClassifier(people, arrays["idf"], arrays["weights"], arrays["bias"]),
            AuthorshipModel(people, words, ngrams, arrays["ratios"], arrays["scores"]),
            arrays["vocabulary"],
        )


def _arrays(store: Store, group: str) -> Any:
    return np.load(io.BytesIO(store.read(_file(group))), allow_pickle=False)


def _file(group: str) -> str:
    return f"{_FOLDER}/{group}.npz"


def _draw_map(store: Store, groups: list[str]) -> None:
    people: list[str] = []
    profiles: list[np.ndarray] = []
    for group in groups:
        if len(people) < _MAPPED:
            with _arrays(store, group) as arrays:
                people += arrays["people"].tolist()
                profiles.append(arrays["style"])
    store.write(MAP, json.dumps(style_map.layout(people, np.concatenate(profiles))).encode())
