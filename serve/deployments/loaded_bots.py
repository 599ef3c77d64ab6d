"""The bots that a pool's worker holds in memory: loaded when asked for, removed when others need the memory.

    bots = LoadedBots(load, budget=2_000_000_000)
    async with bots.of("nasa", "0123456789ab") as bot: ...

The least recently used go first, never one that is answering. A load runs in a thread of its own, so it delays no
other bot's requests, and all requests for the same bot wait for one load. No Ray here.
"""

import asyncio
import time
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Protocol

from serve.engine.question import PoolCounts

_LOADS = 2  # at a time
_BROKEN_SECONDS = 5.0  # how long a bot that did not load is not tried again


class LoadedBot(Protocol):
    """A bot's engine: serve.engine.thread.EngineThread."""

    engine: Any  # with `bytes`

    def close(self) -> None:
        """Ends the engine once its requests are answered."""


Key = tuple[str, str]  # bot, version


class LoadedBots:
    """Bots by name and version. `load` makes one. Together they take `budget` bytes at most, or one takes more."""

    def __init__(self, load: Callable[[str, str], LoadedBot], budget: int, idle_seconds: float = 600):
        self.load, self.budget, self.idle_seconds = load, budget, idle_seconds
        self._held: OrderedDict[Key, tuple[LoadedBot, float]] = OrderedDict()  # the longest unused first
        self._users: Counter[Key] = Counter()
        self._loading: dict[Key, asyncio.Task[LoadedBot]] = {}
        self._broken: dict[Key, tuple[Exception, float]] = {}
        self._turn = asyncio.Semaphore(_LOADS)
        self._counts = _no_counts()

    @property
    def bytes(self) -> int:
        """The memory that all bots take now."""
        return sum(bot.engine.bytes for bot, _ in self._held.values())

    def __contains__(self, key: Key) -> bool:
        return key in self._held

    def __len__(self) -> int:
        return len(self._held)

    def held(self) -> list[Key]:
        """The bots in memory, each with its version."""
        return list(self._held)

    @asynccontextmanager
    async def of(self, bot: str, version: str) -> AsyncIterator[LoadedBot]:
        """The bot's engine, in memory for the length of the block. Raises what is wrong with its files."""
        key = (bot, version)
        self._users[key] += 1
        try:
            if key not in self._held:
                await self._loaded(key)
            yield self._touched(key)
        finally:
            self._users[key] -= 1
            if not self._users[key]:
                del self._users[key]
            self._make_room()

    async def _loaded(self, key: Key) -> None:
        error, at = self._broken.get(key, (None, 0.0))
        if error and time.monotonic() - at < _BROKEN_SECONDS:
            raise error
        if key not in self._loading:
            self._loading[key] = asyncio.create_task(self._load(key))
        await asyncio.shield(self._loading[key])  # a caller that leaves does not cancel it for the others

    async def _load(self, key: Key) -> LoadedBot:
        try:
            async with self._turn:
                began = time.perf_counter()
                bot = await asyncio.to_thread(self.load, *key)
        except Exception as error:
            self._broken = {one: failure for one, failure in self._broken.items() if _recent(failure[1])}
            self._broken[key] = (error, time.monotonic())
            raise
        finally:
            del self._loading[key]
        self._counts["loads"] += 1
        self._counts["load_seconds"].append(time.perf_counter() - began)
        self._broken.pop(key, None)
        self._held[key] = (bot, time.monotonic())
        self._make_room()
        return bot

    def _touched(self, key: Key) -> LoadedBot:
        bot, _ = self._held[key]
        self._held[key] = (bot, time.monotonic())
        self._held.move_to_end(key)
        return bot

    def _make_room(self) -> None:
        """Removes bots, the least recently used first, until the rest fits; the one used last stays in any case."""
        size = self.bytes
        latest = next(reversed(self._held), None)
        for key in [key for key in self._held if key not in self._users and key != latest]:
            if size <= self.budget:
                return
            size -= self._held[key][0].engine.bytes
            self._remove(key)

    def discard(self, bot: str, version: str, error: Exception) -> None:
        """Removes a damaged bot. For a few seconds `of` raises this error; then the bot is loaded again."""
        key = (bot, version)
        self._broken[key] = (error, time.monotonic())
        if key in self._held:
            self._remove(key)

    def sweep(self) -> None:
        """Removes the bots that were not used for `idle_seconds`."""
        for key, (_, at) in list(self._held.items()):
            if key not in self._users and time.monotonic() - at > self.idle_seconds:
                self._remove(key)

    def _remove(self, key: Key) -> None:
        bot, _ = self._held.pop(key)
        bot.close()
        self._counts["evictions"] += 1

    def counts(self) -> PoolCounts:
        """The counts since the last call."""
        counts, self._counts = self._counts, _no_counts()
        return counts


def _no_counts() -> PoolCounts:
    return {"loads": 0, "load_seconds": [], "evictions": 0}


def _recent(at: float) -> bool:
    return time.monotonic() - at < _BROKEN_SECONDS
