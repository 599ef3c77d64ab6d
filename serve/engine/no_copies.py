"""`serve.no_copies`: a bot repeats no training tweet, neither eight words in a row nor a whole one.

    copies = Copies.of(folder)                                   # the folder's word_runs.npy
    copies.forbids("the quick brown fox jumps over the lazy", ended=False)

The engine asks before it takes a token, and draws another one if that would complete a copy.
"""

from pathlib import Path

import numpy as np

from pipeline.core.word_runs import RUN, RUNS_FILE, run_hashes, words


class Copies:
    """The word runs of a bot's training tweets: hashes [n], uint64, sorted."""

    def __init__(self, runs: np.ndarray):
        self.runs = runs  # hashes, uint64, sorted

    @classmethod
    def of(cls, folder: Path) -> "Copies":
        """The word runs of a bot's folder. Raises ValueError if it has none: copies could not be found."""
        path = folder / RUNS_FILE
        if not path.is_file():
            raise ValueError(f"serve.no_copies needs {RUNS_FILE}, which this bot was published without")
        return cls(np.load(path, allow_pickle=False))

    def forbids(self, text: str, ended: bool) -> bool:
        """Whether the text's last eight words are a training tweet's, or, at its end, all of a shorter one.

        Only the end is checked: what comes before it was checked with earlier tokens.
        """
        last = words(text)[-RUN:]
        if not last or (len(last) < RUN and not ended):
            return False
        [run] = run_hashes(" ".join(last))
        at = int(np.searchsorted(self.runs, run))
        return at < len(self.runs) and bool(self.runs[at] == run)
