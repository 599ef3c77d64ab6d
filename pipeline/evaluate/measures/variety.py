"""How varied a bot's samples are, and whether they are as long as its person's tweets.

variety(samples, real)["distinct_2"]
"""

from collections.abc import Sequence

import numpy as np

from pipeline.core.bot_files import Variety
from pipeline.core.word_runs import words

_QUANTILES = (0.1, 0.5, 0.9)


def variety(samples: Sequence[str], real: Sequence[str]) -> Variety:
    """Compares a bot's samples with real tweets of its person.

    distinct-n falls as texts are added, so it is taken over as many real tweets as there are samples.
    """
    from scipy.stats import ks_2samp

    some = real[: len(samples)]
    lengths, real_lengths = ([len(text) for text in texts] for texts in (samples, real))
    return {
        "distinct_1": distinct(samples, 1),
        "distinct_2": distinct(samples, 2),
        "real_distinct_1": distinct(some, 1),
        "real_distinct_2": distinct(some, 2),
        "duplicates": 1 - len({tuple(words(text)) for text in samples}) / max(1, len(samples)),
        "length": _quantiles(lengths),
        "real_length": _quantiles(real_lengths),
        "length_distance": float(ks_2samp(lengths, real_lengths).statistic) if samples and real else None,
    }


def distinct(texts: Sequence[str], n: int) -> float:
    """distinct-n (Li et al. 2016, arXiv:1510.03055): the share of different n-grams of words among all."""
    grams = [tuple(found[i : i + n]) for found in map(words, texts) for i in range(len(found) - n + 1)]
    return len(set(grams)) / max(1, len(grams))


def _quantiles(lengths: list[int]) -> dict[str, float]:
    values = np.quantile(lengths, _QUANTILES) if lengths else np.zeros(len(_QUANTILES))
    return {f"p{round(100 * q)}": float(value) for q, value in zip(_QUANTILES, values, strict=True)}
