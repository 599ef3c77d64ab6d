"""Whether a detector can tell a bot's samples from real tweets of its person: 50 % right is perfect for the bot.

    bot, base, real = (Texts(texts, nats) for texts, nats in measured)      # nats per character by the base model
    real_or_bot(bot, base, real, training)["accuracy"]

The detector is a regularised linear classifier. Its features have nothing in common with the voice classifier's
n-grams: shares of kinds of characters and punctuation marks, lengths of words, repetition, common words, words and word
pairs that the person's training tweets do not have, and what the base model spends on a text. Each text is judged by a
detector that was trained without it (cross-validation). The texts of a pair have similar lengths and are always left
out together, so that neither the length nor the number of texts tells anything.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from pipeline.core.bot_files import RealOrBot
from pipeline.core.word_runs import words

MIN_PAIRS = 12  # with fewer the accuracy says nothing: its standard error would be above 10 %
_LENGTH_TOLERANCE = 1.25  # the longer text of a pair is at most so many times as long as the shorter one
_FOLDS, _REPEATS = 8, 4  # of the cross-validation
_RIDGE = 30.0  # the penalty of the weights of standardised features
_COMMON_WORDS = 40  # of the person, each with a feature of its own
_MARKS = ".,!?'\"’“”:;-–—…()&/@#"
_WORD_LENGTHS = (2, 4, 7)  # shares of words up to these lengths


@dataclass(frozen=True)
class KnownWords:
    """What a person's training tweets consist of."""

    words: frozenset[str]
    pairs: frozenset[tuple[str, str]]
    common: list[str]

    @classmethod
    def of(cls, training: Sequence[str]) -> "KnownWords":
        """The words and pairs of words of these texts, and the most common words."""
        texts = [words(text) for text in training]
        counts = Counter(word for text in texts for word in text)
        pairs = frozenset(pair for text in texts for pair in pairwise(text))
        common = sorted(counts, key=lambda word: (-counts[word], word))[:_COMMON_WORDS]
        return cls(frozenset(counts), pairs, common)


@dataclass(frozen=True)
class Texts:
    """Texts with what the base model spends on each."""

    texts: Sequence[str]
    nats: np.ndarray  # per character, [texts]


def real_or_bot(bot: Texts, base: Texts, real: Texts, training: Sequence[str]) -> RealOrBot:
    """The entry of metrics.json: how often a bot's samples, those of its base, and real tweets are told from real ones.

    All are texts without a prompt; `real` are held-out tweets, and `training` the tweets that the bot learned from.
    Real tweets are told from real ones as a control: every second one from the others.
    """
    known = KnownWords.of(training)
    found, base_found = (detection(texts, real, known) for texts in (bot, base))
    half, other_half = (Texts(real.texts[start::2], real.nats[start::2]) for start in (0, 1))
    control = detection(half, other_half, known)
    return {
        "accuracy": found.accuracy,
        "standard_error": found.standard_error,
        "pairs": found.pairs,
        "base_accuracy": base_found.accuracy,
        "real_accuracy": control.accuracy,
    }


class Detection(NamedTuple):
    """How often a detector was right, and the standard error of that share; None for too few pairs of texts."""

    pairs: int
    accuracy: float | None = None
    standard_error: float | None = None


def detection(texts: Texts, real: Texts, known: KnownWords) -> Detection:
    """Tells texts from real tweets, in pairs of similar length. The seed is fixed."""
    pairs = pairs_of_similar_length(texts.texts, real.texts)
    if len(pairs) < MIN_PAIRS:
        return Detection(len(pairs))
    chosen, chosen_real = (list(numbers) for numbers in zip(*pairs, strict=True))
    ours, theirs = features(texts, known)[chosen], features(real, known)[chosen_real]
    rng = np.random.default_rng(0)
    right = np.zeros((_REPEATS, 2, len(pairs)))
    for repeat in range(_REPEATS):
        for fold in np.array_split(rng.permutation(len(pairs)), _FOLDS):
            rest = np.setdiff1d(np.arange(len(pairs)), fold)
            score = _detector(ours[rest], theirs[rest])
            right[repeat, 0, fold] = np.heaviside(score(ours[fold]), 0.5)
            right[repeat, 1, fold] = np.heaviside(-score(theirs[fold]), 0.5)
    by_pair = right.mean(axis=(0, 1))
    return Detection(len(pairs), float(by_pair.mean()), float(by_pair.std(ddof=1) / np.sqrt(len(pairs))))


def pairs_of_similar_length(first: Sequence[str], second: Sequence[str]) -> list[tuple[int, int]]:
    """Pairs (i, j) of texts of similar length, as many as there are; each text is in one pair at most."""
    from scipy.optimize import linear_sum_assignment

    if not first or not second:
        return []
    logs, others = (np.log([len(text) + 1.0 for text in texts]) for texts in (first, second))
    distances = np.abs(logs[:, None] - others[None, :])
    tolerance = np.log(_LENGTH_TOLERANCE)
    # a pair that is too far apart costs more than all others together, so that the most pairs are found
    rows, columns = linear_sum_assignment(np.where(distances <= tolerance, distances, 1e6))
    return [(int(i), int(j)) for i, j in zip(rows, columns, strict=True) if distances[i, j] <= tolerance]


def features(texts: Texts, known: KnownWords) -> np.ndarray:
    """What the detector sees of each text: [texts, features]."""
    rows = [[*_shape(text), *_wording(text, known)] for text in texts.texts]
    return np.column_stack([np.array(rows, dtype=float), texts.nats])


def _detector(bot: np.ndarray, real: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """A function from features to a score that is positive for what looks like a bot, trained by ridge regression."""
    both = np.concatenate([bot, real])
    used = both.std(axis=0) > 0
    mean, spread = both[:, used].mean(axis=0), both[:, used].std(axis=0)
    x, y = (both[:, used] - mean) / spread, np.repeat([1.0, -1.0], [len(bot), len(real)])
    weights = np.linalg.solve(x.T @ x + _RIDGE * np.eye(x.shape[1]), x.T @ y)
    return lambda rows: (rows[:, used] - mean) / spread @ weights


def _shape(text: str) -> list[float]:
    """Characters: shares of kinds and of punctuation marks, and how the text begins and ends."""
    size = max(1, len(text))
    kinds = Counter(unicodedata.category(character)[0] for character in text)
    capitals, marks = sum(map(str.isupper, text)), Counter(text)
    return [
        *(kinds[kind] / size for kind in "LNPSZ"),
        capitals / size,
        *(marks[mark] / size for mark in _MARKS),
        float(text[:1].isupper()),
        float(text[-1:].isalnum()),
        float(text[-1:] in ".!?…"),
        len(set(text)) / size,
    ]


def _wording(text: str, known: KnownWords) -> list[float]:
    """Words: lengths, repetition, the person's common words, and what the person's training tweets do not have."""
    found = words(text)
    size, counts, pairs = max(1, len(found)), Counter(found), list(pairwise(found))
    lengths = [len(word) for word in found] or [0]
    return [
        float(np.mean(lengths)),
        float(np.std(lengths)),
        float(max(lengths)),
        *(sum(length <= limit for length in lengths) / size for limit in _WORD_LENGTHS),
        len(counts) / size,
        len(set(pairs)) / max(1, len(pairs)),
        len(re.findall(r"[.!?…]+(?=\s|$)", text)) / size,
        sum(word not in known.words for word in found) / size,
        sum(pair not in known.pairs for pair in pairs) / max(1, len(pairs)),
        sum(counts[word] for word in known.common) / size,
        *(counts[word] / size for word in known.common),
    ]
