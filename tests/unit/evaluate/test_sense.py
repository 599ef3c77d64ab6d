"""Whether a bot makes sense: words that are none, and what a language model spends."""

import random

import numpy as np
import pytest

from pipeline.evaluate.measures.real_or_bot import Texts
from pipeline.evaluate.measures.sense import sense, unknown_words, vocabulary
from tests.support.sample_tweets import PEOPLE, sample_tweets


def test_nats_are_weighted_by_characters():
    bot, real = Texts(["abc", "abcdefg"], np.array([2.0, 1.0])), Texts(["abc"], np.array([1.0]))
    measured = sense(bot, bot, real, vocabulary(["abc"]))
    assert measured["nats"] == measured["base_nats"] == pytest.approx((2 * 4 + 1 * 8) / 12)
    assert measured["real_nats"] == 1.0 and measured["ratio"] == pytest.approx(4 / 3)
    assert (measured["unknown_words"], measured["real_unknown_words"]) == (0.5, 0.0)


def test_words_are_known_in_any_case_and_names_tags_and_numbers_are_not_counted():
    known = vocabulary(["The lighthouse, it's old", "ÉTÉ"])
    assert unknown_words(["the LIGHTHOUSE! It's @sendous #grazzing 1984 été"], known) == 0.0
    assert unknown_words(["Sendous lighthouse"], known) == 0.5
    assert unknown_words(["@somebody 12"], known) is None and unknown_words([], known) is None
    assert unknown_words(["word"], vocabulary([])) == 1.0


def test_torn_words_are_found_among_those_of_a_person():
    tweets = sample_tweets("nana_voltage")
    known = np.union1d(vocabulary(tweets[60:]), vocabulary(text for name in PEOPLE[:3] for text in sample_tweets(name)))

    def torn(text: str) -> str:
        rng = random.Random(text)
        return " ".join(word[: len(word) // 2] + rng.choice(text.split())[1:] for word in text.split())

    real = unknown_words(tweets[:60], known)
    assert real is not None and real < 0.15
    assert unknown_words([torn(text) for text in tweets[:60]], known) > 3 * real


def test_nothing_said_has_no_figures():
    nothing = Texts([], np.zeros(0))
    measured = sense(nothing, nothing, nothing, vocabulary([]))
    assert set(measured.values()) == {None}
