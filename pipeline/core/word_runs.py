"""Hashes of all sequences of eight words in a text, by which copied passages are found.

    np.isin(run_hashes("the answer of a bot"), np.load(folder / RUNS_FILE))     # what `serve.no_copies` checks

`evaluate` and the server use them. Upper and lower case are the same, and punctuation does not count.
"""

import hashlib
import io
import re
from collections.abc import Iterable

import numpy as np

RUN = 8  # words: so many in a row that are also in a training tweet are hardly a coincidence
RUNS_FILE = "word_runs.npy"  # in a bot's folder
_WORD = re.compile(r"\w+(?:['’]\w+)*")


def words(text: str) -> list[str]:
    """Returns the words of a text, case folded and without punctuation; Chinese without spaces is one word."""
    return _WORD.findall(text.casefold())


def run_hashes(text: str) -> np.ndarray:
    """Returns a hash for each sequence of 8 words, or one for the whole of a shorter text: uint64 [runs].

    A hash is BLAKE2b with 8 bytes, little-endian, of the words joined with spaces, in UTF-8.
    """
    found = words(text)
    runs = (" ".join(found[i : i + RUN]) for i in range(max(1, len(found) - RUN + 1)) if found)
    digests = (hashlib.blake2b(run.encode(), digest_size=8).digest() for run in runs)
    return np.frombuffer(b"".join(digests), dtype="<u8")


def runs_file(texts: Iterable[str]) -> bytes:
    """Returns the content of `RUNS_FILE`: the sorted hashes of all the texts, without repeats, as a .npy of uint64.

    About 30 bytes a tweet.
    """
    buffer = io.BytesIO()
    np.save(buffer, np.unique(np.concatenate([run_hashes(text) for text in texts] or [np.zeros(0, dtype="<u8")])))
    return buffer.getvalue()
