"""How well a model predicts held-out tweets: loss and perplexity of bot and base model, with intervals.

nats = token_losses(network, stream, block_size=256, device=device)      # pipeline.train.loss: [n - 1]
held_out(per_tweet(nats, lengths), per_tweet(base_nats, lengths), lengths, characters(texts))
"""

from collections.abc import Sequence

import numpy as np

from pipeline.core.bot_files import HeldOut, Losses
from pipeline.train.loss import perplexity

RESAMPLES = 1000  # of the bootstrap
_CONFIDENCE = 0.95


def held_out(bot: np.ndarray, base: np.ndarray, lengths: Sequence[int], characters: np.ndarray) -> HeldOut:
    """The `held_out` entry of metrics.json.

    `bot` and `base`: nats spent on each held-out tweet, its end included, [tweets]; `lengths` and `characters`: the
    tokens and the characters of each tweet, its end counted as one of them.
    """
    tokens = np.asarray(lengths)
    return {
        **_losses(tokens, bot, base),
        "tokens": int(tokens.sum()),
        "tweets": len(tokens),
        "per_character": {**_losses(characters, bot, base), "characters": int(characters.sum())},
    }


def _losses(units: np.ndarray, bot: np.ndarray, base: np.ndarray) -> Losses:
    loss, base_loss = (float(nats.sum() / units.sum()) for nats in (bot, base))
    (low, high), (base_low, base_high) = interval(bot, units), interval(base, units)
    return {
        "loss": loss,
        "loss_interval": [low, high],
        "perplexity": perplexity(loss),
        "perplexity_interval": [perplexity(low), perplexity(high)],
        "base_loss": base_loss,
        "base_loss_interval": [base_low, base_high],
        "base_perplexity": perplexity(base_loss),
        "base_perplexity_interval": [perplexity(base_low), perplexity(base_high)],
    }


def interval(nats: np.ndarray, units: np.ndarray) -> tuple[float, float]:
    """The 95 % percentile-bootstrap interval of sum(nats) / sum(units), resampling tweets; both are [tweets].

    Tweets are resampled, not tokens, because the tokens of one tweet are not independent. Efron & Tibshirani, An
    Introduction to the Bootstrap, 1993, chapter 13.
    """
    rng = np.random.default_rng(0)
    # how often each tweet is drawn is multinomial: [resamples, tweets] counts instead of as many indices
    drawn = rng.multinomial(len(nats), np.full(len(nats), 1 / len(nats)), size=RESAMPLES)
    tail = (1 - _CONFIDENCE) / 2
    low, high = np.quantile(drawn @ nats / (drawn @ units), [tail, 1 - tail])
    return float(low), float(high)


def per_tweet(nats: np.ndarray, lengths: Sequence[int]) -> np.ndarray:
    """Sums a stream's token losses, [n - 1], over its tweets: [tweets]. `lengths` are in tokens, ends included."""
    starts = np.cumsum(lengths) - np.asarray(lengths)
    return np.add.reduceat(nats, starts)


def characters(texts: Sequence[str]) -> np.ndarray:
    """The characters of each tweet, its end counted as one: [tweets]."""
    return np.array([len(text) + 1 for text in texts])
