"""A search finds bots by their names and display names, in any of their orders, without looking at each one."""

import random

import pytest

from serve.http.catalogue import Catalogue

NAMES = {
    "nasa": {"nasa": "NASA"},
    "nasa-wren": {"nasa": "NASA", "wren": "Zaunkönig Straße"},
    "owl": {"owl": "An  owl"},
    "stork": {},
}


def catalogue(order="name", names=NAMES):
    return Catalogue({bot: {"counts": {}, "metrics": {}, "names": shown} for bot, shown in names.items()}, order)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", ["nasa", "nasa-wren", "owl", "stork"]),
        ("NaSa", ["nasa", "nasa-wren"]),
        ("STRASSE", ["nasa-wren"]),
        ("an owl", []),  # the display name has two blanks
        ("owl\nstork", []),  # not across bots,
        ("owl an", []),  # nor across the names of one
        ("wren\x1fnasa", []),
        ("nothing", []),
    ],
)
def test_a_text_is_found_in_any_case_and_within_one_name(text, found):
    every = catalogue()
    assert [every.names[place] for place in every.search(text)] == found


def test_a_search_goes_on_behind_a_place():
    assert list(catalogue().search("nasa", 1)) == [1] and list(catalogue().search("o", 9)) == []
    assert list(catalogue(names={}).search("o")) == list(catalogue(names={}).search("")) == []


def test_it_finds_what_looking_at_each_bot_finds():
    dice = random.Random(0)
    names = {f"{dice.choice('abc')}{i}": {"x": dice.choice(("Ab Ac", "BAB", "c", "ß"))} for i in range(200)}
    every = catalogue(names=names)
    for wanted in ("a", "b", "ab", "1", "ss", "b a", "c1"):
        plain = [
            i
            for i, name in enumerate(every.names)
            if wanted in name or any(wanted in shown.casefold() for shown in names[name].values())
        ]
        assert list(every.search(wanted)) == plain
