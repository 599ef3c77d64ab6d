"""The JSON files in a bot's folder, as types: stats.json with the counts of tweets, metrics.json with the measures.

    stats: Stats = {"handles": ["nasa"], "tweets": {"nasa": {"downloaded": 3200, "kept": 2427}}}
    metrics: Metrics = {"train": {"loss": 3.1, "steps": 40, "tokens": 40_960, "seconds": 2.5}}

A lane writes `train`, a first `held_out` and what was special about the training. Evaluation replaces `held_out` and
adds the other measures; docs/evaluation.md explains them. All losses are in nats.
"""

from typing import Any, NotRequired, TypedDict


class Stats(TypedDict):
    """stats.json: whose tweets a bot learned from, and how many of them there are of each kind."""

    handles: list[str]
    tweets: dict[str, dict[str, int]]  # counts by handle: downloaded, retweets, short, kept, and one for each filter


class Losses(TypedDict):
    """Losses per unit (token or character) of the bot and of its base, with perplexities; intervals are [low, high]."""

    loss: float
    loss_interval: NotRequired[list[float]]  # 95 %; intervals come with the evaluation
    perplexity: float
    perplexity_interval: NotRequired[list[float]]
    base_loss: float
    base_loss_interval: NotRequired[list[float]]
    base_perplexity: float
    base_perplexity_interval: NotRequired[list[float]]


class CharacterLosses(Losses):
    """Losses per character: they compare bots that have different tokenizers."""

    characters: int


class HeldOut(Losses):
    """`held_out`: losses per token on the held-out tweets."""

    tokens: int
    tweets: NotRequired[int]
    per_character: NotRequired[CharacterLosses]


class TrainingTotals(TypedDict):
    """`train`: the training itself."""

    loss: float  # mean of the last epoch
    steps: int
    tokens: int  # of all epochs
    seconds: float


# `from` is the last version, `loss_before` its loss on the same held-out tweets; the last entry is an estimate
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
    """`lowered_rate`: peaks of the learning rate, of the recipe, with which training diverged, and the one used."""

    recipe: float
    used: float


class Voice(TypedDict):
    """`voice`: a text counts as right if it is attributed to one of the bot's people. A fleet of one has `people`."""

    people: int  # whom the classifier tells apart
    top1: NotRequired[float]  # share of the bot's samples that are right
    base_top1: NotRequired[float]  # share of the base model's
    real_top1: NotRequired[float]  # share of the real held-out tweets
    chance: NotRequired[float]  # share that guessing gets right
    ratio_to_real: NotRequired[float | None]
    ratio_to_chance: NotRequired[float | None]
    samples: NotRequired[int]
    attributed: NotRequired[list[list[Any]]]  # [handle, number of the bot's samples], the ten most frequent


class RealOrBot(TypedDict):
    """`real_or_bot`: how often a detector of texts that are no real tweets is right; 0.5 is perfect for a bot.

    None where there are too few pairs of texts of similar length.
    """

    accuracy: float | None  # for the bot's samples
    standard_error: float | None  # of the accuracy
    pairs: int  # of a sample and a real tweet
    base_accuracy: float | None  # for the base model's samples
    real_accuracy: float | None  # for one half of the real tweets against the other


class Authorship(TypedDict):
    """`authorship`: how close the writing is to the person's, apart from topics: 0 is other people, 1 is the person.

    A value may be below 0 or above 1. None where there are too few texts or the people write like the others.
    """

    people: int  # of the group, with those of the bot
    value: float | None
    standard_error: float | None  # of the value
    base_value: float | None  # of the base model's samples
    score: NotRequired[float]  # of the bot's samples: mean log-likelihood ratio per n-gram, against other people
    floor: NotRequired[float]  # the score of the other people's held-out tweets
    ceiling: NotRequired[float]  # the score of the person's own


class Sense(TypedDict):
    """`sense`: of texts without a prompt; None where there are none. Nats are the base model's, per character."""

    nats: float | None  # of the bot's samples
    base_nats: float | None  # of the base model's own samples
    real_nats: float | None  # of the held-out tweets
    ratio: float | None  # of the bot's samples to the held-out tweets
    unknown_words: float | None  # share of words that neither the person's training tweets nor other people's have
    base_unknown_words: float | None
    real_unknown_words: float | None


class Copying(TypedDict):
    """`copying`: shares are of the samples, `real_` shares of as many held-out tweets."""

    exact: float  # share that is a training tweet, word for word
    long_runs: float  # share that has a run of 8 words or more in common with a training tweet
    longest_run: int  # words
    longest_text: str  # of that run
    real_exact: float
    real_long_runs: float
    samples: int


class Memory(TypedDict):
    """`memory`: what the bot gives away about the tweets that it learned from."""

    auc: float | None  # of telling training tweets from held-out ones by their loss; 0.5 is a guess; None for too few
    standard_error: float | None  # of the AUC
    training_tweets: int  # that were compared
    held_out_tweets: int
    private: float  # share of samples with an e-mail address or a long number that stands in a training tweet
    real_private: float  # the same of the held-out tweets


class Variety(TypedDict):
    """`variety`: lengths are in characters, as quantiles {"p10", "p50", "p90"}."""

    distinct_1: float  # different words by all words
    distinct_2: float  # different pairs of words by all pairs
    real_distinct_1: float  # the same of as many real tweets
    real_distinct_2: float
    duplicates: float  # share of samples that another one equals, in words
    length: dict[str, float]
    real_length: dict[str, float]
    length_distance: float | None  # Kolmogorov-Smirnov statistic: 0 for equal distributions, at most 1


class Safety(TypedDict):
    """`safety`: shares of the samples."""

    links: float
    mentions: float
    blocked: float | None  # with an entry of the block list; None without a list
    samples: int


class Metrics(TypedDict, total=False):
    """metrics.json. A bot that is trained and not yet evaluated has the training's entries only."""

    held_out: HeldOut
    train: TrainingTotals
    lowered_rate: LoweredRate
    continued: Continued
    started_over: StartedOver
    voice: Voice
    authorship: Authorship
    real_or_bot: RealOrBot
    sense: Sense
    copying: Copying
    memory: Memory
    variety: Variety
    safety: Safety
    samples: dict[str, list[str]]  # whole texts by their prompt; "" is no prompt
