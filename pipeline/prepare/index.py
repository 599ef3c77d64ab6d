"""The index that `prepare` writes and the later stages read: what is known of each person.

prepared = load_index(store)
prepared.people["nasa"].counts         # {"downloaded": 3200, "retweets": 770, "short": 3, "kept": 2427}
"""

import json
from dataclasses import dataclass, field

from pipeline.core import cycle_collector
from pipeline.core.store import Store

INDEX = "work/people.json"
REJECTS = "rejects.jsonl"
PICTURES = "work/pictures"  # by handle, in the files' own format


@dataclass(frozen=True)
class Person:
    """The numbers of one person; the tweets themselves are in the store."""

    handle: str
    counts: dict[str, int]  # downloaded, retweets, short, those of the filters, kept
    chars: int  # characters of kept text, joined with the separator
    tokens: int  # training tokens in an epoch, separators included
    digest: str  # SHA-256 of the ids and texts of the kept tweets
    name: str | None = None  # the display name, where a file has one
    same_ids: int = 0  # tweets that have their id in common with another text


@dataclass(frozen=True)
class Prepared:
    """What was prepared. `problems` are files without a usable tweet: {path: reason}."""

    people: dict[str, Person]
    problems: dict[str, str]
    owners: dict[str, str]  # for files with a problem: the handle that they belong to, by path
    rejects: int
    fingerprint: str  # of files and settings; if it is the same, nothing needs to be done
    reasons: str = ""  # why records could not be used: the commonest reasons
    notices: list[str] = field(default_factory=list)  # what else users should know about the files
    unchanged: bool = False


def load_index(store: Store) -> Prepared | None:
    """Returns what the last `prepare` wrote, or None if there was none."""
    try:
        content = store.read(INDEX)
    except FileNotFoundError:
        return None
    with cycle_collector.paused():
        index = json.loads(content)
        return Prepared(**(index | {"people": {name: Person(**row) for name, row in index["people"].items()}}))
