"""How well a model foresees tweets that training never saw: loss and perplexity, base and bot, with intervals.

nats = token_losses(network, stream, block_size=256, device=device)      # [n - 1], of pipeline.train.loss
held_out(per_tweet(nats, lengths), per_tweet(base_nats, lengths), lengths, characters)
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from pipeline.train.loss import perplexity

RESAMPLES = 1000  # of the bootstrap
_CONFIDENCE = 0.95


def held_out(bot: np.ndarray, base: np.ndarray, lengths: Sequence[int], characters: np.ndarray) -> dict[str, Any]:
    """The `held_out` entry of metrics.json.

    `bot` and `base`: nats spent on each held-out tweet, its end included, [tweets]; `lengths` and
    `characters`: what each has of tokens and characters, its end counted as one. Bots on different tokenizers
    compare by character.
    """
    tokens = np.asarray(lengths)
    return _per(tokens, bot, base) | {
        "tokens": int(tokens.sum()),
        "tweets": len(tokens),
        "per_character": _per(characters, bot, base) | {"characters": int(characters.sum())},
    }


def _per(units: np.ndarray, bot: np.ndarray, base: np.ndarray) -> dict[str, Any]:
    """Losses and perplexities per unit, each with its 95 % interval."""
    entry: dict[str, Any] = {}
    for prefix, nats in (("", bot), ("base_", base)):
        loss = float(nats.sum() / units.sum())
        low, high = interval(nats, units)
        entry[f"{prefix}loss"], entry[f"{prefix}loss_interval"] = loss, [low, high]
        entry[f"{prefix}perplexity"] = perplexity(loss)
        entry[f"{prefix}perplexity_interval"] = [perplexity(low), perplexity(high)]
    return entry


def interval(nats: np.ndarray, units: np.ndarray) -> tuple[float, float]:
    """The 95 % percentile-bootstrap interval of sum(nats) / sum(units), resampling tweets.

    Tweets, not tokens: the tokens of one tweet are not independent. Efron & Tibshirani, An Introduction to the
    Bootstrap, 1993, chapter 13.
    """
    rng = np.random.default_rng(0)
    # how often each tweet is drawn is multinomial: [resamples, tweets] counts instead of as many indices
    drawn = rng.multinomial(len(nats), np.full(len(nats), 1 / len(nats)), size=RESAMPLES)
    tail = (1 - _CONFIDENCE) / 2
    low, high = np.quantile(drawn @ nats / (drawn @ units), [tail, 1 - tail])
    return float(low), float(high)


def per_tweet(nats: np.ndarray, lengths: Sequence[int]) -> np.ndarray:
    """Sums per tweet of a stream's token losses, [n - 1]; `lengths`: each tweet's tokens, its end among them."""
    starts = np.cumsum(lengths) - np.asarray(lengths)
    return np.add.reduceat(nats, starts)


def characters(texts: Sequence[str]) -> np.ndarray:
    """What each tweet has of characters, its end counted as one, [tweets]."""
    return np.array([len(text) + 1 for text in texts])
