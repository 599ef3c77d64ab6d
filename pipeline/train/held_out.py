"""The held-out losses that a lane measures while the model is in memory, as metrics.json has them."""

import math
from typing import Any


def summary(loss: float, base_loss: float, tokens: int) -> dict[str, Any]:
    """The part of `held_out` that a lane knows while the model is in memory; losses in nats per token."""
    return {
        "loss": loss,
        "perplexity": perplexity(loss),
        "base_loss": base_loss,
        "base_perplexity": perplexity(base_loss),
        "tokens": tokens,
    }


def perplexity(loss: float) -> float:
    """e to the loss, held below what JSON can say."""
    return math.exp(min(loss, 700.0))
