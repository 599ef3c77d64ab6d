"""A bot of a fleet: whose it is, which version is wanted, and how far it is.

    bot = Bot("nasa", [person], version="0123456789ab")
    bot.folder                          # "bots/nasa/0123456789ab"

`plan` (bots.py) creates them; the later stages change their status and add metrics; the report has a row for each.
"""

from dataclasses import dataclass, field
from typing import Literal

from pipeline.core.bot_files import Metrics, Stats
from pipeline.core.names import handles_of
from pipeline.prepare.index import Person

# prepared: to be trained; trained: to be published; unchanged: published in this version by an earlier command
Status = Literal["prepared", "trained", "unchanged", "skipped", "failed"]


@dataclass
class Bot:
    """One bot of a fleet; the stages update it in place."""

    name: str
    people: list[Person]
    version: str | None = None  # None for a bot that cannot be trained
    status: Status = "prepared"
    reason: str | None = None  # why it was skipped or failed
    log: str = ""  # the last lines of its training's log, if that failed
    warning: str | None = None
    metrics: Metrics = field(default_factory=Metrics)  # as in metrics.json
    seconds: dict[str, float] = field(default_factory=dict)  # by stage
    parent: str = ""  # the version to continue from (`train.continue`)

    @property
    def handles(self) -> list[str]:
        """The handles of its people."""
        return handles_of(self.name)

    @property
    def tokens(self) -> int:
        """Its training tokens in one epoch, separators included."""
        return sum(person.tokens for person in self.people)

    @property
    def trained_folder(self) -> str:
        """The folder in the store for the trained weights, until they are published."""
        return f"work/trained/{self.name}/{self.version}"

    @property
    def folder(self) -> str:
        """The folder in the store for the published version."""
        return f"bots/{self.name}/{self.version}"

    @property
    def stats(self) -> Stats:
        """The content of stats.json: handles, and the counts of each person's tweets."""
        return {"handles": self.handles, "tweets": {person.handle: person.counts for person in self.people}}
