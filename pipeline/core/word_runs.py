"""Runs of eight words: how a copied passage is recognised, by `evaluate` and by the server.

    np.isin(run_hashes("what it would say"), np.load(folder / RUNS_FILE))    # what `serve.no_copies` looks at

Words are compared without case and punctuation.
"""

import hashlib
import io
import re
from collections.abc import Iterable

import numpy as np

RUN = 8  # words: a run of as many, shared with a training tweet, is no accident
RUNS_FILE = "word_runs.npy"  # in a bot's folder
_WORD = re.compile(r"\w+(?:['’]\w+)*")


def words(text: str) -> list[str]:
    """The words of a text, case folded, without punctuation (CJK text without spaces is one word)."""
    return _WORD.findall(text.casefold())


def run_hashes(text: str) -> np.ndarray:
    """A hash for each run of 8 words, or one for the whole of a shorter text: uint64 [runs].

    The first 8 bytes, little-endian, of BLAKE2b (digest size 8) over the words joined with spaces, in UTF-8.
    """
    found = words(text)
    runs = (" ".join(found[i : i + RUN]) for i in range(max(1, len(found) - RUN + 1)) if found)
    digests = (hashlib.blake2b(run.encode(errors="replace"), digest_size=8).digest() for run in runs)
    return np.frombuffer(b"".join(digests), dtype="<u8")


def runs_file(texts: Iterable[str]) -> bytes:
    """What `RUNS_FILE` holds: the hashes of all runs of the texts, sorted, each once, as a .npy of uint64.

    Some 30 bytes a tweet; `numpy.load(…, allow_pickle=False)` reads it.
    """
    buffer = io.BytesIO()
    np.save(buffer, np.unique(np.concatenate([run_hashes(text) for text in texts] or [np.zeros(0, dtype="<u8")])))
    return buffer.getvalue()
