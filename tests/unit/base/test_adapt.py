"""Whose tweets measure an adapted base; training it is in tests/integration/test_adapt.py."""

from pipeline.base.adapt import enough_to_measure
from pipeline.base.worker import HELD_OUT_TOKENS
from pipeline.prepare.index import Person


def person(handle: str, tokens: int) -> Person:
    return Person(handle, {"kept": 1}, 6_000, tokens, "digest")


def test_of_many_held_out_people_the_first_are_read_whose_tweets_are_enough():
    people = [person(f"bird_{i}", HELD_OUT_TOKENS // 10 + 1) for i in range(1000)]
    assert enough_to_measure(people) == people[:10]
    assert enough_to_measure(people[:3]) == people[:3]
    assert enough_to_measure([person("lark", 10 * HELD_OUT_TOKENS), *people]) == [person("lark", 10 * HELD_OUT_TOKENS)]
