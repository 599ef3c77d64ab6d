"""Keeps the manifest of published bots (core/manifest.py) while a command changes them.

index = BotIndex(job.store, lease.check)
index.withdraw(["nasa"])        # before it changes
index.record(bot)               # once it is published
index.close()
"""

from collections.abc import Callable

from pipeline.core.json_file import JsonObject
from pipeline.core.manifest import Writer
from pipeline.core.store import Store
from pipeline.plan.bot import Bot
from pipeline.prepare.index import PICTURES


class BotIndex(Writer):
    """The manifest's writer, for bots of the plan."""

    def __init__(self, store: Store, check: Callable[[], None]):
        super().__init__(store, check)
        self._pictured = frozenset[str]() if store.local else frozenset(store.list(PICTURES))

    def record(self, bot: Bot) -> None:
        """Adds a bot that is published in its version; from any thread."""
        content: dict[str, JsonObject] = {"metrics.json": bot.metrics, "stats.json": bot.stats}
        if self._pictured.isdisjoint(bot.handles):  # else only its folder says which pictures could be read
            names = {person.handle: person.name for person in bot.people if person.name}
            content["profiles.json"] = {"names": names, "pictures": []}
        self.add(bot.name, bot.version or "", content)
