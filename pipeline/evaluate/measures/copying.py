"""Whether a bot repeats what it was trained on: word for word, or in long runs of words.

    copying(said, training, real)["long_runs"]                 # share of `said` with a run of 8 words or more
    np.isin(run_hashes("what it would say"), np.load(folder / RUNS_FILE))    # what `serve.no_copies` looks at

Words are compared without case and punctuation.
"""

from collections.abc import Sequence
from typing import Any

from pipeline.core.word_runs import RUN, words


def copying(said: Sequence[str], training: Sequence[str], real: Sequence[str]) -> dict[str, Any]:
    """The `copying` entry of metrics.json, over what a bot said.

    `exact`: the share that is a training tweet, word for word; `long_runs`: the share that has a run of 8
    words or more in common with one; `longest_run`: the longest such run, in words, and `longest_text` it.
    `real_exact` and `real_long_runs` are the same of as many `real` held-out tweets: people repeat themselves.
    """
    tweets = [" ".join(words(text)) for text in training]
    known, corpus = set(tweets), "\n".join(f" {tweet} " for tweet in tweets)

    def shares(texts: Sequence[str], runs: list[list[str]]) -> tuple[float, float]:
        exact = sum(" ".join(words(text)) in known for text in texts)
        return exact / max(1, len(texts)), sum(len(run) >= RUN for run in runs) / max(1, len(texts))

    some = real[: len(said)]
    runs = [longest_run(words(text), corpus) for text in said]
    longest = max(runs, key=len, default=[])
    exact, long_runs = shares(said, runs)
    real_exact, real_long_runs = shares(some, [longest_run(words(text), corpus) for text in some])
    return {
        "exact": exact,
        "long_runs": long_runs,
        "longest_run": len(longest),
        "longest_text": " ".join(longest),
        "real_exact": real_exact,
        "real_long_runs": real_long_runs,
        "samples": len(said),
    }


def longest_run(said: list[str], corpus: str) -> list[str]:
    """The longest run of the words `said` that stands in `corpus`: tweets' words with a space around each."""
    best: list[str] = []
    for start in range(len(said)):
        while (end := start + len(best) + 1) <= len(said) and f" {' '.join(said[start:end])} " in corpus:
            best = said[start:end]
    return best
