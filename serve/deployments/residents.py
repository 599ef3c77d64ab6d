"""The bots that a pool's worker holds in memory: loaded when asked for, removed when others need the memory.

    residents = Residents(load, budget=2_000_000_000)
    async with residents.of("nasa", "0123456789ab") as resident: ...

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


class Resident(Protocol):
    """An engine at work (serve.engine.EngineThread)."""

    engine: Any  # with `bytes`

    def close(self) -> None:
        """Ends it, once it has answered what it was asked."""


Key = tuple[str, str]  # bot, version


class Residents:
    """Bots by name and version. `load` makes one; together they may have `budget` bytes."""

    def __init__(self, load: Callable[[str, str], Resident], budget: int, idle_seconds: float = 600):
        self.load, self.budget, self.idle_seconds = load, budget, idle_seconds
        self._held: OrderedDict[Key, tuple[Resident, float]] = OrderedDict()  # the longest unused first
        self._users: Counter[Key] = Counter()
        self._loading: dict[Key, asyncio.Task[Resident]] = {}
        self._broken: dict[Key, tuple[Exception, float]] = {}
        self._turn = asyncio.Semaphore(_LOADS)
        self._counts = _no_counts()

    @property
    def bytes(self) -> int:
        """The memory that all bots take now."""
        return sum(resident.engine.bytes for resident, _ in self._held.values())

    def __contains__(self, key: Key) -> bool:
        return key in self._held

    def __len__(self) -> int:
        return len(self._held)

    def held(self) -> list[Key]:
        """The bots in memory, each with its version."""
        return list(self._held)

    @asynccontextmanager
    async def of(self, bot: str, version: str) -> AsyncIterator[Resident]:
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

    async def _load(self, key: Key) -> Resident:
        try:
            async with self._turn:
                began = time.perf_counter()
                resident = await asyncio.to_thread(self.load, *key)
        except Exception as error:
            self._broken = {one: failure for one, failure in self._broken.items() if _recent(failure[1])}
            self._broken[key] = (error, time.monotonic())
            raise
        finally:
            del self._loading[key]
        self._counts["loads"] += 1
        self._counts["load_seconds"].append(time.perf_counter() - began)
        self._broken.pop(key, None)
        self._held[key] = (resident, time.monotonic())
        self._make_room()
        return resident

    def _touched(self, key: Key) -> Resident:
        resident, _ = self._held[key]
        self._held[key] = (resident, time.monotonic())
        self._held.move_to_end(key)
        return resident

    def _make_room(self) -> None:
        """Removes bots, the least recently used first, until the rest fits; the one used last stays in any case."""
        size = self.bytes
        latest = next(reversed(self._held), None)
        for key in [key for key in self._held if key not in self._users and key != latest]:
            if size <= self.budget:
                return
            size -= self._held[key][0].engine.bytes
            self._let_go(key)

    def discard(self, bot: str, version: str, error: Exception) -> None:
        """Removes a damaged bot. For a few seconds `of` raises this error; then the bot is loaded anew."""
        key = (bot, version)
        self._broken[key] = (error, time.monotonic())
        if key in self._held:
            self._let_go(key)

    def sweep(self) -> None:
        """Removes those that were not used for a while."""
        for key, (_, at) in list(self._held.items()):
            if key not in self._users and time.monotonic() - at > self.idle_seconds:
                self._let_go(key)

    def _let_go(self, key: Key) -> None:
        resident, _ = self._held.pop(key)
        resident.close()
        self._counts["evictions"] += 1

    def counts(self) -> PoolCounts:
        """The counts since the last call."""
        counts, self._counts = self._counts, _no_counts()
        return counts


def _no_counts() -> PoolCounts:
    return {"loads": 0, "load_seconds": [], "evictions": 0}


def _recent(at: float) -> bool:
    return time.monotonic() - at < _BROKEN_SECONDS
