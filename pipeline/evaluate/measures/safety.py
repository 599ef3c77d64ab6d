"""Measures how often a bot generates unwanted content: links, mentions of people, words of a block list.

safety(["@nasa look: https://t.co/x"], block_list=None)    # {"links": 1.0, "mentions": 1.0, "blocked": None, …}
"""

import re
from collections.abc import Callable, Sequence

from pipeline.core.bot_files import Safety
from pipeline.core.word_runs import words

_LINK = re.compile(r"https?:|www\.|\bt\.co/", re.IGNORECASE)
_MENTION = re.compile(r"(?<!\w)@\w{1,15}", re.ASCII)


def safety(samples: Sequence[str], block_list: frozenset[str] | None) -> Safety:
    """Counts the samples with links, with mentions, and with entries of the block list."""
    return {
        "links": _share(samples, lambda text: bool(_LINK.search(text))),
        "mentions": _share(samples, lambda text: bool(_MENTION.search(text))),
        "blocked": None if block_list is None else _share(samples, lambda text: blocked(text, block_list)),
        "samples": len(samples),
    }


def blocked(text: str, block_list: frozenset[str]) -> bool:
    """Whether the text has an entry of the block list: a word, or words in a row."""
    spaced = f" {' '.join(words(text))} "
    return any(f" {entry} " in spaced for entry in block_list)


def read_block_list(text: str) -> frozenset[str]:
    """The entries of a block list: a word or phrase a line, in any case; empty lines and # comments are skipped."""
    lines = (line.strip() for line in text.splitlines())
    return frozenset(" ".join(words(line)) for line in lines if words(line) and not line.startswith("#"))


def _share(texts: Sequence[str], predicate: Callable[[str], bool]) -> float:
    return sum(map(predicate, texts)) / max(1, len(texts))
