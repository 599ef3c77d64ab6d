"""The detector that tells bots from their people: right by chance on one person's tweets, right on an obvious bot."""

import random
from statistics import mean

import numpy as np
import pytest

from pipeline.evaluate.measures.real_or_bot import (
    MIN_PAIRS,
    KnownWords,
    Texts,
    detection,
    pairs_of_similar_length,
    real_or_bot,
)
from tests.support.sample_tweets import PEOPLE, sample_tweets


def texts_of(texts: list[str], nats: float = 1.0) -> Texts:
    return Texts(texts, np.full(len(texts), nats))


def split(handle: str, seed: int) -> tuple[list[str], list[str], list[str]]:
    """Two times 32 of a person's tweets, and the others."""
    tweets = sample_tweets(handle)
    random.Random(seed).shuffle(tweets)
    return tweets[:32], tweets[32:64], tweets[64:]


def shuffled_words(texts: list[str]) -> list[str]:
    return [" ".join(random.Random(text).sample(text.split(), len(text.split()))) for text in texts]


@pytest.mark.parametrize("handle", PEOPLE)
def test_real_tweets_are_told_from_real_tweets_half_of_the_time(handle):
    accuracies = []
    for seed in range(12):
        first, second, training = split(handle, seed)
        found = detection(texts_of(first), texts_of(second), KnownWords.of(training))
        assert found.accuracy is not None and found.standard_error is not None
        accuracies.append(found.accuracy)
    assert 0.45 < mean(accuracies) < 0.55


def test_the_standard_error_is_about_the_spread_of_accuracies():
    found = []
    for seed in range(12):
        first, second, training = split(PEOPLE[seed % 4], seed)
        found.append(detection(texts_of(first), texts_of(second), KnownWords.of(training)))
    spread, stated = np.std([one.accuracy for one in found]), np.mean([one.standard_error for one in found])
    assert 0.5 < spread / stated < 2


@pytest.mark.parametrize("handle", PEOPLE)
def test_an_obvious_bot_is_found_out(handle):
    bot, real, training = split(handle, 0)
    gibberish = [text[::-1] for text in bot]
    found = detection(texts_of(gibberish), texts_of(real), KnownWords.of(training))
    assert found.accuracy is not None and found.accuracy > 0.95
    salad = detection(texts_of(shuffled_words(bot)), texts_of(real), KnownWords.of(training))
    assert salad.accuracy is not None and salad.accuracy > 0.7


def test_what_the_base_spends_on_a_text_can_give_a_bot_away():
    first, second, training = split("nana_voltage", 0)
    rng = np.random.default_rng(0)
    bot, real = Texts(first, rng.normal(2.2, 0.1, 32)), Texts(second, rng.normal(1.2, 0.1, 32))
    found = detection(bot, real, KnownWords.of(training))
    assert found.accuracy is not None and found.accuracy > 0.8


def test_texts_are_compared_with_texts_of_similar_length():
    short, long = ["a" * 10, "a" * 11, "a" * 100], ["b" * 105, "b" * 300, "b" * 11]
    pairs = pairs_of_similar_length(short, long)
    assert len(pairs) == 2 and (2, 0) in pairs and pairs[0][1] == 2
    assert pairs_of_similar_length(["a" * 10] * 50, ["b" * 200] * 50) == pairs_of_similar_length([], ["b"]) == []


def test_short_samples_are_not_found_out_by_their_length_alone():
    tweets = sample_tweets("captain_brine") + sample_tweets("nana_voltage")
    order = sorted(random.Random(1).sample(tweets, 160), key=len)
    shorter, longer = order[:90], order[60:]  # 30 of them in both
    found = detection(texts_of(shorter), texts_of(longer), KnownWords.of([]))
    assert found.pairs < 90
    chosen = pairs_of_similar_length(shorter, longer)
    assert max(len(longer[j]) / len(shorter[i]) for i, j in chosen) < 1.26


def test_the_entry_of_a_bot_its_base_and_the_person():
    bot, real, training = split("moth_at_window", 3)
    real += training[:20]
    measured = real_or_bot(
        texts_of(shuffled_words(bot)), texts_of([text[::-1] for text in bot]), texts_of(real), training[20:]
    )
    assert measured["base_accuracy"] > measured["accuracy"] > 0.6 > measured["real_accuracy"]
    assert measured["pairs"] > 25 and 0 < measured["standard_error"] < 0.1
    again = real_or_bot(
        texts_of(shuffled_words(bot)), texts_of([text[::-1] for text in bot]), texts_of(real), training[20:]
    )
    assert again == measured


def test_too_few_tweets_have_no_accuracy():
    bot, real, training = split("moth_at_window", 3)
    few = texts_of(real[: MIN_PAIRS - 1])
    measured = real_or_bot(texts_of(bot), texts_of(bot), few, training)
    assert (measured["accuracy"], measured["standard_error"], measured["real_accuracy"]) == (None, None, None)
    assert 0 < measured["pairs"] < MIN_PAIRS
    assert real_or_bot(texts_of([]), texts_of([""]), texts_of([]), [])["pairs"] == 0
