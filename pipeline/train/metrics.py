"""What a lane reports of a bot it has trained, in the form of metrics.json."""

from typing import NotRequired, TypedDict

from pipeline.train.loss import perplexity


class HeldOut(TypedDict):
    """Loss in nats per token on the held-out tweets, of the bot and of the base; `evaluate` adds intervals later."""

    loss: float
    perplexity: float
    base_loss: float
    base_perplexity: float
    tokens: int


class TrainingTotals(TypedDict):
    """The training itself: mean loss of the last epoch, steps, tokens of all epochs, seconds."""

    loss: float
    steps: int
    tokens: int
    seconds: float


# `from` is the last version; `loss_before` its loss on the same held-out tweets; the last entry is an estimate
Continued = TypedDict(
    "Continued",
    {
        "from": str,
        "new_tweets": int,
        "old_tweets": int,
        "loss_before": NotRequired[float],
        "seconds_to_start_over": NotRequired[float],
    },
)
StartedOver = TypedDict("StartedOver", {"from": str, "reason": str})


class LoweredRate(TypedDict):
    """Peaks of the learning rate: the recipe's, with which the training diverged, and the one that was used."""

    recipe: float
    used: float


class Metrics(TypedDict):
    """A bot's metrics.json, as far as its training decides it."""

    held_out: HeldOut
    train: TrainingTotals
    lowered_rate: NotRequired[LoweredRate]
    continued: NotRequired[Continued]
    started_over: NotRequired[StartedOver]


def held_out_metrics(loss: float, base_loss: float, tokens: int) -> HeldOut:
    """The entry `held_out`; losses in nats per token, over `tokens` predicted tokens."""
    return {
        "loss": loss,
        "perplexity": perplexity(loss),
        "base_loss": base_loss,
        "base_perplexity": perplexity(base_loss),
        "tokens": tokens,
    }
