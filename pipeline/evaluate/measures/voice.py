"""Whether a bot sounds like its person: a classifier, trained on people's real tweets, attributes its samples.

    classifier = VoiceClassifier.fit({"nasa": tweets, "billnye": tweets})       # training tweets only
    classifier.attribute(["Look at that nebula"])                               # ["nasa"]
    voice(classifier, ["nasa"], samples, base_samples, real)                    # the entry of metrics.json

The features are hashed character n-grams within words, weighted by tf-idf; the classifier is a linear support vector
machine. It tells apart at most 100 people. Larger fleets are split, by a hash of the handle, into groups of that size,
each with its own classifier, so that the cost is linear in the number of people and chance stays the same.
"""

import hashlib
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.core.bot_files import Voice

GROUP = 100  # people that one classifier tells apart, at most
TWEETS = 500  # of a person, to train on; with ten people 84 % are right with 500 tweets each, 87 % with 1,000
_FEATURES = 2**15
_LENGTHS = 1, 4  # of the n-grams
_SHOWN = 10  # people in `attributed`


def groups(handles: Sequence[str]) -> list[list[str]]:
    """Splits people into groups of at most 100, each sorted; the order of `handles` does not matter."""
    order = sorted(handles, key=lambda handle: hashlib.sha256(handle.encode()).digest())
    count = math.ceil(len(order) / GROUP)
    return [sorted(order[i::count]) for i in range(count)]


@dataclass(frozen=True)
class VoiceClassifier:
    """Attributes texts to the people of one group. It is held as plain arrays, to be stored without pickle."""

    people: list[str]  # sorted
    idf: np.ndarray  # [features]
    weights: np.ndarray  # float32 [people, features]
    bias: np.ndarray  # [people]

    @classmethod
    def fit(cls, tweets: Mapping[str, Sequence[str]]) -> "VoiceClassifier":
        """Trains on at most 500 training tweets of each person: two people or more, each with at least one tweet."""
        from sklearn.feature_extraction.text import TfidfTransformer
        from sklearn.svm import LinearSVC

        people = sorted(tweets)
        texts: list[str] = []
        labels: list[int] = []
        for label, handle in enumerate(people):
            chosen = sample(tweets[handle], TWEETS)
            texts += chosen
            labels += [label] * len(chosen)
        counts = hashing(_FEATURES, _LENGTHS).transform(texts)
        tfidf = TfidfTransformer(sublinear_tf=True).fit(counts)
        machine = LinearSVC(C=0.5, class_weight="balanced", random_state=0).fit(tfidf.transform(counts), labels)
        weights, bias = machine.coef_.astype(np.float32), machine.intercept_
        if len(people) == 2:  # scikit-learn keeps one row for two classes: the second's
            weights, bias = np.concatenate([-weights, weights]), np.concatenate([-bias, bias])
        return cls(people, tfidf.idf_, weights, bias)

    def attribute(self, texts: Sequence[str]) -> list[str]:
        """The handle of the person who most likely wrote each text."""
        from sklearn.feature_extraction.text import TfidfTransformer

        if not texts:
            return []
        tfidf = TfidfTransformer(sublinear_tf=True)
        tfidf.idf_ = self.idf
        scores = tfidf.transform(hashing(_FEATURES, _LENGTHS).transform(texts)) @ self.weights.T + self.bias
        return [self.people[i] for i in np.asarray(scores).argmax(axis=1)]


def voice(
    classifier: VoiceClassifier,
    handles: Sequence[str],
    samples: Sequence[str],
    base_samples: Sequence[str],
    real: Sequence[str],
) -> Voice:
    """Attributes the samples of a bot of these people, its base model's to the same prompts, and real tweets."""
    ours = set(handles) & set(classifier.people)
    attributed = Counter(classifier.attribute(samples))

    def share(names: Sequence[str]) -> float:
        return sum(name in ours for name in names) / max(1, len(names))

    top1, real_top1 = share(list(attributed.elements())), share(classifier.attribute(real))
    chance = len(ours) / len(classifier.people)
    return {
        "top1": top1,
        "base_top1": share(classifier.attribute(base_samples)),
        "real_top1": real_top1,
        "chance": chance,
        "ratio_to_real": top1 / real_top1 if real_top1 else None,
        "ratio_to_chance": top1 / chance if chance else None,
        "people": len(classifier.people),
        "samples": len(samples),
        "attributed": [[name, count] for name, count in attributed.most_common(_SHOWN)],
    }


def sample(texts: Sequence[str], count: int) -> list[str]:
    """At most `count` of the texts, always the same ones, in an order of their own."""
    order = np.random.default_rng(0).permutation(len(texts))[:count]
    return [texts[i] for i in order]


def hashing(features: int, lengths: tuple[int, int]) -> Any:
    """A vectorizer that counts hashed character n-grams within words: texts to a sparse [texts, features]."""
    from sklearn.feature_extraction.text import HashingVectorizer

    return HashingVectorizer(
        analyzer="char_wb",
        ngram_range=lengths,
        n_features=features,
        alternate_sign=False,
        norm=None,
        dtype=np.float32,
    )
