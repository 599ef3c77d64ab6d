"""Whether a bot says different things, at the lengths its person does.

variety(said, real)["distinct_2"]
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from pipeline.core.word_runs import words

_QUANTILES = (0.1, 0.5, 0.9)


def variety(said: Sequence[str], real: Sequence[str]) -> dict[str, Any]:
    """The `variety` entry of metrics.json, of what a bot said beside tweets of its person.

    distinct_1 and distinct_2 fall as texts are added, so as many real tweets as samples are taken; lengths are
    in characters, `length_distance` is the largest gap between their two distributions (Kolmogorov-Smirnov).
    """
    from scipy.stats import ks_2samp

    some = real[: len(said)]
    lengths, real_lengths = ([len(text) for text in texts] for texts in (said, real))
    return {
        "distinct_1": distinct(said, 1),
        "distinct_2": distinct(said, 2),
        "real_distinct_1": distinct(some, 1),
        "real_distinct_2": distinct(some, 2),
        "duplicates": 1 - len({tuple(words(text)) for text in said}) / max(1, len(said)),
        "length": _quantiles(lengths),
        "real_length": _quantiles(real_lengths),
        "length_distance": float(ks_2samp(lengths, real_lengths).statistic) if said and real else None,
    }


def distinct(texts: Sequence[str], n: int) -> float:
    """Different n-grams of words by all n-grams of words (distinct-n; Li et al. 2016, arXiv:1510.03055)."""
    grams = [tuple(found[i : i + n]) for found in map(words, texts) for i in range(len(found) - n + 1)]
    return len(set(grams)) / max(1, len(grams))


def _quantiles(lengths: list[int]) -> dict[str, float]:
    values = np.quantile(lengths, _QUANTILES) if lengths else np.zeros(len(_QUANTILES))
    return {f"p{round(100 * q)}": float(value) for q, value in zip(_QUANTILES, values, strict=True)}
