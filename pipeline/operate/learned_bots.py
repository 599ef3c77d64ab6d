"""Bots of other people that were trained on an adapted base which had learned from somebody who was removed.

    for version in learned_versions(store, {"d0a1…"}):      # the content hashes of such bases
        version.bot, version.version, version.current

A bot's `provenance.json` has the hash of the base that it was trained on.
"""

from collections.abc import Iterator, Set
from dataclasses import dataclass

from pipeline.core.names import is_version
from pipeline.core.store import Store
from pipeline.plan import provenance
from pipeline.publish import hub
from pipeline.track import lineage


@dataclass(frozen=True)
class LearnedVersion:
    """A version of a bot on such a base."""

    bot: str
    version: str
    folder: str  # in the store
    current: bool  # whether it is the published version

    @property
    def run_id(self) -> str:
        """The id of the W&B run of its training."""
        return lineage.train_id(self.bot, self.version)


def learned_versions(store: Store, bases: Set[str]) -> Iterator[LearnedVersion]:
    """Yields all versions on one of these bases: the published ones, those before them, and those only trained."""
    if not bases:
        return
    for parent in ("bots", "work/trained"):
        for bot in store.list(parent):
            current = store.current_version(bot) if parent == "bots" else None
            for version in filter(is_version, store.list(f"{parent}/{bot}")):
                made = store.read_json(f"{parent}/{bot}/{version}/{provenance.FILE}")
                if made.get("base_model", {}).get("hash") in bases:
                    yield LearnedVersion(bot, version, f"{parent}/{bot}/{version}", version == current)


def hub_copies(store: Store, bases: Set[str]) -> Iterator[tuple[str, str]]:
    """Yields (repository, version) where a repository of the hub holds such a version, or one that is in no store."""
    learned = {(one.bot, one.version) for one in learned_versions(store, bases)}
    for bot in store.list("bots") if bases else ():
        versions = store.versions(bot)
        for repository, content in hub.repositories(store, bot).items():
            if (bot, content["version"]) in learned or (versions and content["version"] not in versions):
                yield repository, content["version"]
