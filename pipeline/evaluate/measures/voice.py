"""Whether a bot sounds like its person: a classifier that knows people's real tweets says whose a text is.

    group = Voice.fit({"nasa": tweets, "billnye": tweets})        # training tweets alone
    group.attribute(["Look at that nebula"])                       # ["nasa"]
    voice(group, ["nasa"], said, base_said, real)                  # the entry of metrics.json

Character n-grams within words, hashed, tf-idf, and a linear support vector machine. It tells apart GROUP
people at most; larger fleets are split, by a hash of the handle, into groups of that size, each with a
classifier of its own: the cost grows with the number of people, and chance stays what it is.
"""

import hashlib
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

GROUP = 100  # people that one classifier tells apart, at most
TWEETS = 500  # of a person that it learns from; of ten people 84 % right with 500 tweets each, 87 % with 1,000
_FEATURES = 2**15
_LENGTHS = 1, 4  # of the n-grams
_SHOWN = 10  # people that `attributed` names


def groups(handles: Sequence[str]) -> list[list[str]]:
    """People in groups of GROUP at most, the same whatever the order; each sorted."""
    order = sorted(handles, key=lambda handle: hashlib.sha256(handle.encode()).digest())
    count = math.ceil(len(order) / GROUP)
    return [sorted(order[i::count]) for i in range(count)]


@dataclass(frozen=True)
class Voice:
    """A classifier over the people of one group, as plain arrays."""

    people: list[str]  # sorted
    idf: np.ndarray  # [features]
    weights: np.ndarray  # float32 [people, features]
    bias: np.ndarray  # [people]

    @classmethod
    def fit(cls, tweets: Mapping[str, Sequence[str]]) -> "Voice":
        """Learns from people's training tweets, TWEETS of each at most; two people at least, none without any."""
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
        """Whose each text is most likely."""
        from sklearn.feature_extraction.text import TfidfTransformer

        if not texts:
            return []
        tfidf = TfidfTransformer(sublinear_tf=True)
        tfidf.idf_ = self.idf
        scores = tfidf.transform(hashing(_FEATURES, _LENGTHS).transform(texts)) @ self.weights.T + self.bias
        return [self.people[i] for i in np.asarray(scores).argmax(axis=1)]


def voice(group: Voice, handles: list[str], said: list[str], base_said: list[str], real: list[str]) -> dict[str, Any]:
    """The `voice` entry of metrics.json.

    `said`, `base_said`: what the bot and its base said to the same prompts; `real`: held-out tweets of the
    person (of any of a blend's people: each counts as right). Shares of texts attributed to them: `top1` of
    the bot's, `base_top1` of the base's, `real_top1` of the real ones; `chance` is what guessing gives.
    """
    ours = set(handles) & set(group.people)
    attributed = Counter(group.attribute(said))

    def share(names: Sequence[str]) -> float:
        return sum(name in ours for name in names) / max(1, len(names))

    top1, real_top1 = share(list(attributed.elements())), share(group.attribute(real))
    chance = len(ours) / len(group.people)
    return {
        "top1": top1,
        "base_top1": share(group.attribute(base_said)),
        "real_top1": real_top1,
        "chance": chance,
        "ratio_to_real": top1 / real_top1 if real_top1 else None,
        "ratio_to_chance": top1 / chance if chance else None,
        "people": len(group.people),
        "samples": len(said),
        "attributed": [[name, count] for name, count in attributed.most_common(_SHOWN)],
    }


def sample(texts: Sequence[str], count: int) -> list[str]:
    """At most `count` of the texts, always the same ones."""
    order = np.random.default_rng(0).permutation(len(texts))[:count]
    return [texts[i] for i in order]


def hashing(features: int, lengths: tuple[int, int]) -> Any:
    """Counts of hashed character n-grams of these lengths, within words, as a sparse [texts, features]."""
    from sklearn.feature_extraction.text import HashingVectorizer

    return HashingVectorizer(
        analyzer="char_wb",
        ngram_range=lengths,
        n_features=features,
        alternate_sign=False,
        norm=None,
        dtype=np.float32,
    )
