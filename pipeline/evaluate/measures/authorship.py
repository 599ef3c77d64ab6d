"""How close a bot's writing is to its person's, whatever it writes about: 0 is other people, 1 is the person.

    model = AuthorshipModel.fit({"nasa": training, "billnye": others}, {"nasa": held_out, "billnye": others_held_out})
    authorship(model, ["nasa"], samples, base_samples, held_out)            # the entry of metrics.json

Texts are reduced to what says little about their topic: the words that most people use, punctuation, and the shape of
all other words. A person's model is a log-likelihood ratio over n-grams of these: how much more often the person uses
each than the other people do. The same idea, with larger models, is LambdaG (Nini et al. 2024, arXiv:2403.08462).
"""

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.core.bot_files import Authorship
from pipeline.evaluate.measures.voice import TWEETS, sample

MIN_TEXTS = 12  # held-out tweets of the person, and samples
_WORDS = 120  # that most people use, kept as they are
_CANDIDATES = 2000  # for them
_NGRAMS = 2000
_LENGTHS = (1, 2, 3)  # of the n-grams
_HELD_OUT = 100  # tweets of each other person that the floor is made from
_PRIOR = 1000.0  # n-grams' worth of other people's writing that is mixed into each person's
_TOKEN = re.compile(r"\w+(?:['’]\w+)*|[^\w\s]")


@dataclass(frozen=True)
class AuthorshipModel:
    """Models of how the people of one group write, as plain arrays, to be stored without pickle."""

    people: list[str]  # sorted
    words: list[str]  # that are kept as they are
    ngrams: list[str]
    weights: np.ndarray  # float32 [people, ngrams]: log-likelihood ratios of the person against the others
    scores: np.ndarray  # [people, people]: of the held-out tweets of each (column) by the model of each (row)

    @classmethod
    def fit(cls, training: Mapping[str, Sequence[str]], held_out: Mapping[str, Sequence[str]]) -> "AuthorshipModel":
        """Trains on at most 500 training tweets of each of two people or more, each with at least one tweet."""
        from sklearn.feature_extraction.text import CountVectorizer

        people = sorted(training)
        chosen = [sample(training[handle], TWEETS) for handle in people]
        words = _common_words(chosen)
        ngrams = _ngrams(words)
        vectorizer: Any = CountVectorizer(analyzer=lambda texts: [ngram for text in texts for ngram in ngrams(text)])
        counts = vectorizer.fit_transform(chosen)  # sparse [people, all n-grams]
        users, uses = (np.asarray(one.sum(axis=0))[0] for one in (counts > 0, counts))
        order = np.lexsort((-uses, -users))[:_NGRAMS]
        weights = _log_ratios(counts[:, order].toarray())
        names = vectorizer.get_feature_names_out()[order].tolist()
        model = cls(people, words, names, weights, np.zeros((len(people), len(people))))
        for column, handle in enumerate(people):
            texts = model.counts(list(held_out[handle])[:_HELD_OUT])
            model.scores[:, column] = weights @ texts.sum(axis=0) / max(1.0, texts.sum())
        return model

    def counts(self, texts: Sequence[str]) -> np.ndarray:
        """How often each text has each n-gram: [texts, ngrams]."""
        from sklearn.feature_extraction.text import CountVectorizer

        if not texts:
            return np.zeros((0, len(self.ngrams)))
        vectorizer = CountVectorizer(analyzer=_ngrams(self.words), vocabulary=self.ngrams)
        return vectorizer.transform(texts).toarray().astype(float)


def authorship(
    model: AuthorshipModel | None,
    handles: Sequence[str],
    samples: Sequence[str],
    base_samples: Sequence[str],
    real: Sequence[str],
) -> Authorship:
    """Places samples of a bot of these people, and of its base, between the writing of others and their own tweets.

    The scores are mean log-likelihood ratios per n-gram. `value` and `base_value` are None if there are too few texts,
    no other people (then `model` may be None), or if the bot's people do not differ from the others by two standard
    errors.
    """
    if model is None:
        return {"people": 1, "value": None, "standard_error": None, "base_value": None}
    ours = [model.people.index(handle) for handle in handles if handle in model.people]
    others = [i for i in range(len(model.people)) if i not in ours]
    if not ours or not others or min(map(len, (samples, base_samples, real))) < MIN_TEXTS:
        return {"people": len(model.people), "value": None, "standard_error": None, "base_value": None}
    weights = model.weights[ours].mean(axis=0)
    floor = float(model.scores[np.ix_(ours, others)].mean())
    ceiling, ceiling_error = _score(model.counts(real), weights)
    score, error = _score(model.counts(samples), weights)
    base_score, _ = _score(model.counts(base_samples), weights)
    span = ceiling - floor
    known = span > 2 * ceiling_error
    value = (score - floor) / span if known else None
    return {
        "people": len(model.people),
        "value": value,
        "standard_error": None if value is None else float(np.hypot(error, value * ceiling_error) / span),
        "base_value": (base_score - floor) / span if known else None,
        "score": score,
        "floor": floor,
        "ceiling": ceiling,
    }


def _score(counts: np.ndarray, weights: np.ndarray) -> tuple[float, float]:
    """The mean log-likelihood ratio per n-gram of texts, [texts, ngrams], and its standard error over texts."""
    sums, sizes = counts @ weights, counts.sum(axis=1)
    mean = sums.sum() / max(1.0, sizes.sum())
    deviations = (sums - mean * sizes) / max(1e-9, sizes.mean())
    return float(mean), float(deviations.std(ddof=1) / np.sqrt(len(deviations)))


def _log_ratios(counts: np.ndarray) -> np.ndarray:
    """For each person, the logarithm of how much more often they use each n-gram than the others: [people, ngrams]."""
    shares = (counts + 0.5) / (counts + 0.5).sum(axis=1, keepdims=True)
    others = (shares.sum(axis=0) - shares) / (len(counts) - 1)
    sizes = counts.sum(axis=1, keepdims=True)
    return np.log((counts + _PRIOR * others) / (sizes + _PRIOR) / others).astype(np.float32)


def _common_words(people: Sequence[Sequence[str]]) -> list[str]:
    """The words that people use most evenly: more than half of them, and with the highest geometric mean of shares."""
    from sklearn.feature_extraction.text import CountVectorizer

    vectorizer: Any = CountVectorizer(analyzer=_words, max_features=_CANDIDATES)
    counts = vectorizer.fit_transform(people).toarray()
    shares = (counts + 0.5) / np.maximum(1, counts.sum(axis=1, keepdims=True))
    evenness = np.where(2 * (counts > 0).sum(axis=0) > len(people), np.log(shares).sum(axis=0), -np.inf)
    order = np.argsort(-evenness, kind="stable")[: min(_WORDS, np.isfinite(evenness).sum())]
    return vectorizer.get_feature_names_out()[order].tolist()


def _words(texts: Sequence[str]) -> list[str]:
    tokens = (token for text in texts for token in _TOKEN.findall(text))
    return [token.casefold() for token in tokens if token[0].isalpha()]


def _ngrams(words: Sequence[str]) -> Callable[[str], list[str]]:
    """A function from a text to the n-grams of its reduced tokens; `words` are kept as they are."""
    kept = frozenset(words)

    def reduced(token: str) -> str:
        if (folded := token.casefold()) in kept:
            return folded
        if token[0].isdigit():
            return "NUMBER"
        if token[0].isalpha():
            return "WORD" if len(token) > 1 and token.isupper() else "Word" if token[0].isupper() else "-word"
        return token if unicodedata.category(token[0])[0] == "P" else "symbol"

    def ngrams(text: str) -> list[str]:
        tokens = ["<", *map(reduced, _TOKEN.findall(text)), ">"]
        return [" ".join(tokens[i : i + n]) for n in _LENGTHS for i in range(len(tokens) - n + 1)]

    return ngrams
