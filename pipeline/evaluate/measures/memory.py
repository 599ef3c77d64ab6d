"""What a bot gives away about the tweets that it learned from.

    memory(training_nats, held_out_nats, samples, training, real)["auc"]      # 0.5: an attacker can only guess

An attacker who has the model can try to tell who was in the training set: tweets that cost the model little were
probably in it (Yeom et al. 2018, arXiv:1709.01604). An attacker who has its answers only can look for e-mail addresses
and numbers of the person.
"""

import re
from collections.abc import Sequence

import numpy as np

from pipeline.core.bot_files import Memory

MIN_TEXTS = 12  # training tweets and held-out tweets, for an AUC
TRAINING = 64  # training tweets that are compared with those held out, at most
_ADDRESS = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+")
_NUMBER = re.compile(r"\d(?:[ .-]?\d){4,}")  # five digits or more, as in 555-0199


def memory(
    training_nats: np.ndarray,
    held_out_nats: np.ndarray,
    samples: Sequence[str],
    training: Sequence[str],
    real: Sequence[str],
) -> Memory:
    """The entry of metrics.json; nats are what the bot spends on each training and held-out tweet, per character."""
    auc = error = None
    if min(len(training_nats), len(held_out_nats)) >= MIN_TEXTS:
        auc = _auc(held_out_nats, training_nats)
        error = _standard_error(auc, len(training_nats), len(held_out_nats))
    known = frozenset(item for text in training for item in private_items(text))
    return {
        "auc": auc,
        "standard_error": error,
        "training_tweets": len(training_nats),
        "held_out_tweets": len(held_out_nats),
        "private": _share(samples, known),
        "real_private": _share(real, known),
    }


def private_items(text: str) -> set[str]:
    """The e-mail addresses in a text, in lower case, and its numbers of five digits and more, as digits alone."""
    addresses = {address.lower() for address in _ADDRESS.findall(text)}
    return addresses | {re.sub(r"\D", "", number) for number in _NUMBER.findall(text)}


def _share(texts: Sequence[str], known: frozenset[str]) -> float:
    return sum(not known.isdisjoint(private_items(text)) for text in texts) / max(1, len(texts))


def _auc(higher: np.ndarray, lower: np.ndarray) -> float:
    """How often a random one of `higher` is above a random one of `lower`; the area under the ROC curve."""
    from scipy.stats import mannwhitneyu

    return float(mannwhitneyu(higher, lower).statistic / (len(higher) * len(lower)))


def _standard_error(auc: float, members: int, others: int) -> float:
    """Of an AUC (Hanley & McNeil 1982, doi:10.1148/radiology.143.1.7063747)."""
    one, two = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    variance = auc * (1 - auc) + (others - 1) * (one - auc**2) + (members - 1) * (two - auc**2)
    return float(np.sqrt(max(0.0, variance) / (members * others)))
