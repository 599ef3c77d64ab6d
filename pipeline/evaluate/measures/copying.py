"""How much of what a bot says is copied from its training tweets: whole tweets, or long runs of words.

    copying(samples, training, real)["long_runs"]           # the share of samples with a run of 8 words or more

Words are compared without case and punctuation (pipeline.core.word_runs).
"""

from collections.abc import Sequence

from pipeline.core.bot_files import Copying
from pipeline.core.word_runs import RUN, words


def copying(samples: Sequence[str], training: Sequence[str], real: Sequence[str]) -> Copying:
    """Measures copying in a bot's samples and, for comparison, in as many held-out tweets (`real`)."""
    tweets = [" ".join(words(text)) for text in training]
    known, corpus = set(tweets), "\n".join(f" {tweet} " for tweet in tweets)

    def shares(texts: Sequence[str], runs: list[list[str]]) -> tuple[float, float]:
        exact = sum(" ".join(words(text)) in known for text in texts)
        return exact / max(1, len(texts)), sum(len(run) >= RUN for run in runs) / max(1, len(texts))

    some = real[: len(samples)]
    runs = [longest_run(words(text), corpus) for text in samples]
    longest = max(runs, key=len, default=[])
    exact, long_runs = shares(samples, runs)
    real_exact, real_long_runs = shares(some, [longest_run(words(text), corpus) for text in some])
    return {
        "exact": exact,
        "long_runs": long_runs,
        "longest_run": len(longest),
        "longest_text": " ".join(longest),
        "real_exact": real_exact,
        "real_long_runs": real_long_runs,
        "samples": len(samples),
    }


def longest_run(text: list[str], corpus: str) -> list[str]:
    """The longest run of a text's words that occurs in `corpus`: tweets' words, with a space around each word."""
    best: list[str] = []
    for start in range(len(text)):
        while (end := start + len(best) + 1) <= len(text) and f" {' '.join(text[start:end])} " in corpus:
            best = text[start:end]
    return best
