"""Whether a bot makes sense: what its samples cost a language model, and how many of their words are no words.

    known = np.union1d(vocabulary(training), vocabulary(other_peoples_tweets))
    sense(bot, base, real, known)["ratio"]                  # 1.28: samples cost 1.28 times as much as real tweets

The language model is the base model, which has not learned from the person. A word is known if the person's training
tweets or other people of the fleet have it. Mentions, tags and what contains digits are not counted.
"""

import hashlib
import re
from collections.abc import Iterable, Sequence

import numpy as np

from pipeline.core.bot_files import Sense
from pipeline.core.word_runs import words
from pipeline.evaluate.measures.held_out import characters
from pipeline.evaluate.measures.real_or_bot import Texts

_NAME = re.compile(r"[@#]\w+")


def sense(bot: Texts, base: Texts, real: Texts, known: np.ndarray) -> Sense:
    """The entry of metrics.json, of samples without a prompt and held-out tweets; `known` is a vocabulary."""
    nats, base_nats, real_nats = (_per_character(texts) for texts in (bot, base, real))
    return {
        "nats": nats,
        "base_nats": base_nats,
        "real_nats": real_nats,
        "ratio": nats / real_nats if nats and real_nats else None,
        "unknown_words": unknown_words(bot.texts, known),
        "base_unknown_words": unknown_words(base.texts, known),
        "real_unknown_words": unknown_words(real.texts, known),
    }


def vocabulary(texts: Iterable[str]) -> np.ndarray:
    """The different words of these texts, as sorted hashes: uint64 [words]."""
    return np.unique(_hashes({word for text in texts for word in _plain_words(text)}))


def unknown_words(texts: Sequence[str], known: np.ndarray) -> float | None:
    """The share of the texts' words that a vocabulary does not have; None if there are no words."""
    found = _hashes(word for text in texts for word in _plain_words(text))
    return 1 - float(np.isin(found, known).mean()) if len(found) else None


def _per_character(texts: Texts) -> float | None:
    sizes = characters(texts.texts)
    return float((texts.nats * sizes).sum() / sizes.sum()) if len(sizes) else None


def _plain_words(text: str) -> list[str]:
    return [word for word in words(_NAME.sub(" ", text)) if not any(map(str.isdigit, word))]


def _hashes(found: Iterable[str]) -> np.ndarray:
    """A hash of each word, as short as a number, however long the words: uint64 [words]."""
    return np.frombuffer(b"".join(hashlib.blake2b(word.encode(), digest_size=8).digest() for word in found), "<u8")
