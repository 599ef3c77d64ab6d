"""The calibrated measure of authorship: people against themselves and others, and what it must not depend on."""

import random

import numpy as np
import pytest

from pipeline.evaluate.measures.authorship import MIN_TEXTS, AuthorshipModel, authorship
from tests.support.sample_tweets import PEOPLE, sample_tweets
from tests.support.toys import WORDS, tweets_of


@pytest.fixture(scope="module")
def tweets() -> dict[str, list[str]]:
    """All people's tweets in an order of their own."""
    found = {handle: sample_tweets(handle) for handle in PEOPLE}
    for texts in found.values():
        random.Random(0).shuffle(texts)
    return found


@pytest.fixture(scope="module")
def model(tweets) -> AuthorshipModel:
    return AuthorshipModel.fit(
        {handle: texts[90:] for handle, texts in tweets.items()},
        {handle: texts[60:90] for handle, texts in tweets.items()},
    )


@pytest.mark.parametrize("handle", PEOPLE)
def test_a_persons_own_tweets_are_at_1_and_other_peoples_at_0(model, tweets, handle):
    other = {name: tweets[name][:30] for name in PEOPLE if name != handle}
    mixed = [text for texts in other.values() for text in texts]
    measured = authorship(model, [handle], tweets[handle][:30], mixed, tweets[handle][30:60])
    assert measured["value"] == pytest.approx(1.0, abs=max(0.25, 3 * measured["standard_error"]))
    assert measured["base_value"] == pytest.approx(0.0, abs=0.25)
    assert measured["floor"] < 0 < measured["ceiling"] and measured["people"] == 4


def test_half_of_the_samples_by_somebody_else_is_half_way(model, tweets):
    others = [text for name in PEOPLE[1:] for text in tweets[name][:10]]
    measured = authorship(model, PEOPLE[:1], tweets[PEOPLE[0]][:30] + others, others, tweets[PEOPLE[0]][30:60])
    assert 0.3 < measured["value"] < 0.7


def test_a_caricature_is_above_1(model, tweets):
    handle = "nana_voltage"
    counts = model.counts(tweets[handle][:60])
    scores = counts @ model.weights[model.people.index(handle)] / counts.sum(axis=1)
    typical = [tweets[handle][i] for i in np.argsort(-scores)[:20]]
    assert authorship(model, [handle], typical, tweets[handle][:12], tweets[handle][:60])["value"] > 1.1


def test_topics_do_not_matter(model, tweets):
    """The words that not everybody uses are replaced by others of the same shape."""
    kept = set(model.words)

    def about_nothing(text: str) -> str:
        return " ".join(
            "blob" if word.isalpha() and word.islower() and word not in kept else word for word in text.split()
        )

    samples, real = tweets["nana_voltage"][:30], tweets["nana_voltage"][30:60]
    measured = authorship(model, ["nana_voltage"], samples, real, real)
    assert authorship(model, ["nana_voltage"], [about_nothing(text) for text in samples], real, real)["value"] == (
        pytest.approx(measured["value"], abs=1e-6)
    )


def test_a_blend_is_placed_between_the_others_and_its_people(model, tweets):
    handles = ["captain_brine", "nana_voltage"]
    samples, real = (
        [text for name in handles for text in tweets[name][part]] for part in (slice(0, 30), slice(30, 60))
    )
    others = [text for name in PEOPLE if name not in handles for text in tweets[name][:30]]
    measured = authorship(model, handles, samples, others, real)
    assert measured["value"] == pytest.approx(1.0, abs=0.4) and measured["base_value"] == pytest.approx(0.0, abs=0.3)


def test_who_cannot_be_compared_has_no_value(model, tweets):
    real, few = tweets["captain_brine"][:30], tweets["captain_brine"][: MIN_TEXTS - 1]
    nothing = {"people": 4, "value": None, "standard_error": None, "base_value": None}
    assert authorship(model, ["captain_brine"], few, real, real) == nothing
    assert authorship(model, ["captain_brine"], real, real, few) == nothing
    assert authorship(model, ["captain_brine"], real, few, real) == nothing
    assert authorship(model, list(PEOPLE), real, real, real) == nothing
    assert authorship(model, ["somebody"], real, real, real) == nothing
    assert authorship(None, ["captain_brine"], real, real, real) == nothing | {"people": 1}
    same = AuthorshipModel.fit({"a": real, "b": real}, {"a": real, "b": real})
    assert authorship(same, ["a"], real, real, real)["value"] is None


def test_people_who_differ_in_their_topics_alone_are_not_told_apart():
    people = {handle: tweets_of(handle) for handle in WORDS}
    model = AuthorshipModel.fit(people, people)
    real = {handle: tweets_of(handle, seed=1) for handle in WORDS}
    values = [authorship(model, [handle], real[handle], real[handle], real[handle])["value"] for handle in WORDS]
    assert model.words == [] and values == [None] * 3
