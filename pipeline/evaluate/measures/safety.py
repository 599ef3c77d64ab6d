"""What nobody wants from a bot: links, names of people who never asked, words of a block list.

safety(["@nasa look: https://t.co/x"], block_list=None)    # {"links": 1.0, "mentions": 1.0, "blocked": None, …}
"""

import re
from collections.abc import Sequence
from typing import Any

from pipeline.core.word_runs import words

_LINK = re.compile(r"https?:|www\.|\bt\.co/", re.IGNORECASE)
_MENTION = re.compile(r"(?<!\w)@\w{1,15}", re.ASCII)


def safety(said: Sequence[str], block_list: frozenset[str] | None) -> dict[str, Any]:
    """The `safety` entry of metrics.json: shares of what a bot said; `blocked` is None without a block list."""
    return {
        "links": _share(said, lambda text: bool(_LINK.search(text))),
        "mentions": _share(said, lambda text: bool(_MENTION.search(text))),
        "blocked": None if block_list is None else _share(said, lambda text: blocked(text, block_list)),
        "samples": len(said),
    }


def blocked(text: str, block_list: frozenset[str]) -> bool:
    """Whether a word, or a run of words, of the block list stands in the text."""
    spaced = f" {' '.join(words(text))} "
    return any(f" {entry} " in spaced for entry in block_list)


def read_block_list(text: str) -> frozenset[str]:
    """A block list: an entry a line, words or phrases, without case; empty lines and `#` comments are skipped."""
    lines = (line.strip() for line in text.splitlines())
    return frozenset(" ".join(words(line)) for line in lines if words(line) and not line.startswith("#"))


def _share(texts: Sequence[str], holds: Any) -> float:
    return sum(map(holds, texts)) / max(1, len(texts))
