"""Sums up in few words why records could not be used: reasons that differ only in a name or a number count as one.

groups = grouped([Case("no text", "a.csv:3"), Case("not a handle: 'x y'", "a.csv:4")])
sentence(groups)        # "a.csv:3: no text; a.csv:4: not a handle: 'x y'"
"""

import re
from collections.abc import Iterable
from typing import NamedTuple

from pipeline.prepare.index import Person
from pipeline.tweets import Notice

_VARIES = re.compile(r"(?<= id )[^\s;]+|'[^']*'|\"[^\"]*\"|\d[\d,.]*")
_SHOWN = 3  # reasons in a message


class Case(NamedTuple):
    """One record or file that could not be used."""

    reason: str
    place: str  # file and line


class Group(NamedTuple):
    """Cases with the same reason."""

    number: int
    reason: str  # that of the first case
    place: str


def grouped(cases: Iterable[Case]) -> list[Group]:
    """The cases by their reasons, the most frequent first."""
    return merged(Group(1, case.reason, case.place) for case in cases)


def sentence(groups: list[Group]) -> str:
    """The most frequent reasons, each with its number of cases and an example."""
    times = [f" ({group.number:,} times)" if group.number > 1 else "" for group in groups]
    shown = "; ".join(f"{one.place}: {one.reason}{count}" for one, count in zip(groups[:_SHOWN], times, strict=False))
    more = sum(group.number for group in groups[_SHOWN:])
    return shown + (f"; {more:,} with other reasons" if more else "")


def merged(groups: Iterable[Group]) -> list[Group]:
    """The groups, those with the same reason merged, the most frequent first."""
    found: dict[str, Group] = {}
    for group in groups:
        form = _VARIES.sub("…", group.reason)
        known = found.get(form)
        found[form] = known._replace(number=known.number + group.number) if known else group
    return sorted(found.values(), key=lambda group: -group.number)


def summed(notices: Iterable[Notice]) -> list[str]:
    """The notices of all files, added up: each once, with an example."""
    found: dict[str, Notice] = {}
    for notice in notices:
        known = found.get(notice.what)
        found[notice.what] = known._replace(number=known.number + notice.number) if known else notice
    return [f"{one.number:,} {one.what} ({one.example})" for one in found.values()]


def same_ids(people: Iterable[Person]) -> list[str]:
    """Returns a notice about tweets that share an id but differ in text, or no line if there are none."""
    found = [person for person in people if person.same_ids]
    total = sum(person.same_ids for person in found)
    what = "tweets share an id with another text, which no two tweets do; all of them are used"
    return [f"{total:,} {what} (@{found[0].handle})"] if found else []
