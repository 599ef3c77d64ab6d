"""What `prepare` found, person by person: the index that the later stages plan from.

prepared = load_index(store)
prepared.people["nasa"].counts         # {"downloaded": 3200, "retweets": 770, "short": 3, "kept": 2427}

"""

import json
from dataclasses import dataclass, field

from pipeline.core.store import Store


@dataclass(frozen=True)
class Person:
    """What prepare knows of one person; the tweets themselves are in the store."""

    handle: str
    counts: dict[str, int]  # downloaded, retweets, short, those of the filters, kept
    chars: int  # of the kept text, joined with the separator
    tokens: int  # in training tweets
    digest: str  # of the kept tweets: their ids and texts, in the order of their keys
    name: str | None = None  # as it is displayed, where a file says
    same_ids: int = 0  # tweets that have their id in common with another text


INDEX = "work/people.json"
REJECTS = "rejects.jsonl"


@dataclass(frozen=True)
class Prepared:
    """The index of what is prepared. `problems`: files that gave nothing, as {path: reason}."""

    people: dict[str, Person]
    problems: dict[str, str]
    owners: dict[str, str]  # the handle that a file with a problem stands for, where it has one
    rejects: int
    fingerprint: str  # of files and settings: the same again means there is nothing to do
    reasons: str = ""  # why records could not be used: the commonest reasons
    notices: list[str] = field(default_factory=list)  # what else users should know of the files
    unchanged: bool = False


def load_index(store: Store) -> Prepared | None:
    """What the last prepare found, or None where there was none."""
    try:
        index = json.loads(store.read(INDEX))
    except FileNotFoundError:
        return None
    return Prepared(**(index | {"people": {name: Person(**row) for name, row in index["people"].items()}}))
