"""Looks for a watermark (watermark.py) in posts: how likely they would look like this without one.

    p_value, counted = search(secret, [vocabulary.encode(post) for post in posts], vocabulary.separator)

Without the watermark the random number of each token is uniform in (0, 1), so the sum of -log(1 - number) over n tokens
has the gamma distribution with shape n; marked texts have larger numbers. The salt of a post is not known: the largest
sum over all salts counts, and its probability is corrected for their number (Šidák). The probabilities of the posts
are combined by Fisher's method. Both need independent numbers, so what the posts repeat counts once.
"""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import gammaincc

from serve.engine.watermark import CONTEXT, SALTS, context_number, noise_bits, salt_offsets

_SMALLEST = 1e-300  # probability: below it a float becomes zero
_AT_ONCE = 2**18  # numbers computed together: what fits into a processor's cache


class Found(NamedTuple):
    """The result: the probability under which posts without the watermark look so, and the tokens that it rests on."""

    p_value: float  # at least 1e-300
    tokens: int


def search(secret: bytes, posts: Sequence[Sequence[int]], separator: int) -> Found:
    """Looks for the watermark of this secret in posts, given as tokens; `separator` is the token before a text."""
    counted: set[tuple[int, ...]] = set()
    exponent, used, tokens = 0.0, 0, 0
    for post in posts:
        if runs := list(_new_runs([separator, *post], counted)):
            exponent -= math.log(_post_probability(secret, runs))
            used, tokens = used + 1, tokens + len(runs)
    # Fisher: twice the exponent has the chi-squared distribution with 2 · used degrees of freedom
    return Found(max(float(gammaincc(used, exponent)), _SMALLEST) if used else 1.0, tokens)


def _new_runs(tokens: Sequence[int], counted: set[tuple[int, ...]]) -> Iterator[tuple[int, ...]]:
    """Each token from the text's second on, behind its context: a context once in a post, a run once in all posts."""
    contexts = set()
    for at in range(2, len(tokens)):
        context = tuple(tokens[max(0, at - CONTEXT) : at])
        run = (*context, tokens[at])
        if context not in contexts and run not in counted:
            counted.add(run)
            yield run
        contexts.add(context)


def _post_probability(secret: bytes, runs: Sequence[tuple[int, ...]]) -> float:
    """How likely the best of all salts fits a text without the watermark so well."""
    contexts = np.array([context_number(secret, run[:-1]) for run in runs], np.uint64)
    tokens = np.array([run[-1] for run in runs], np.int64)
    best, size = 0.0, max(1, _AT_ONCE // len(runs))
    for start in range(0, SALTS, size):
        seeds = contexts ^ salt_offsets(start, min(start + size, SALTS))[:, None]
        # 1 - number with 24 bits, in single precision: enough to add up, and three times as fast
        rest = (~noise_bits(seeds, tokens) >> np.uint64(40)).astype(np.float32) + np.float32(0.5)
        sums = -np.log(rest * np.float32(2.0**-24)).sum(axis=1)
        best = max(best, float(sums.max()))
    one_salt = float(gammaincc(len(runs), best))
    return max(-math.expm1(SALTS * math.log1p(-min(one_salt, 1 - 1e-16))), _SMALLEST)
