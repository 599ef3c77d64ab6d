"""The bots in a pool worker's memory: within the budget, one load for all waiting requests, none in use removed."""

import asyncio
import threading
import time
from types import SimpleNamespace

import pytest
from pyarrow import fs

from pipeline.core.store import Store
from serve.deployments import pool
from serve.deployments.disk_cache import Cache
from serve.deployments.loaded_bots import LoadedBots


class Loaded:
    """A bot of ten bytes that remembers whether it was closed."""

    def __init__(self, bot: str, version: str):
        self.name, self.engine, self.closed = (bot, version), SimpleNamespace(bytes=10), False

    def close(self) -> None:
        self.closed = True


class Loads:
    def __init__(self) -> None:
        self.done: list[tuple[str, str]] = []
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, bot: str, version: str) -> Loaded:
        self.gate.wait(10)
        if bot == "broken":
            raise ValueError("no weights")
        self.done.append((bot, version))
        return Loaded(bot, version)


async def touch(bots: LoadedBots, *names: str) -> list[Loaded]:
    held = []
    for name in names:
        async with bots.of(name, "1") as loaded:
            held.append(loaded)
    return held  # type: ignore[return-value]


def test_a_bot_is_loaded_once_and_the_longest_unused_is_removed_first():
    async def run() -> None:
        loads = Loads()
        bots = LoadedBots(loads, budget=20)
        a, b, _ = await touch(bots, "a", "b", "a")
        assert loads.done == [("a", "1"), ("b", "1")] and bots.bytes == 20
        await touch(bots, "c")
        assert b.closed and not a.closed and len(bots) == 2
        counts = bots.counts()
        assert (counts["loads"], counts["evictions"]) == (3, 1) and bots.counts()["loads"] == 0

    asyncio.run(run())


def test_a_bot_in_use_is_never_removed_even_over_the_budget():
    async def run() -> None:
        bots = LoadedBots(Loads(), budget=10)
        async with bots.of("a", "1") as a, bots.of("b", "1") as b:
            await touch(bots, "c")
            assert not a.closed and not b.closed  # type: ignore[attr-defined]
        await touch(bots, "d")
        assert len(bots) == 1

    asyncio.run(run())


def test_requests_for_one_bot_share_one_load_and_other_bots_are_not_delayed():
    async def run() -> None:
        loads = Loads()
        bots = LoadedBots(loads, budget=100)
        await touch(bots, "warm")
        loads.gate.clear()
        waiting = [asyncio.create_task(touch(bots, "slow")) for _ in range(5)]
        await asyncio.sleep(0.05)
        await asyncio.wait_for(touch(bots, "warm"), 1)
        waiting[0].cancel()  # who hangs up does not take the load from the others
        loads.gate.set()
        await asyncio.gather(*waiting[1:])
        assert loads.done.count(("slow", "1")) == 1

    asyncio.run(run())


def test_a_broken_bot_says_why_and_is_not_tried_at_once_again():
    async def run() -> None:
        loads = Loads()
        bots = LoadedBots(loads, budget=100)
        for _ in range(2):
            began = time.monotonic()
            with pytest.raises(ValueError, match="no weights"):
                await touch(bots, "broken")
        loads.gate.clear()
        with pytest.raises(ValueError, match="no weights"):
            await asyncio.wait_for(touch(bots, "broken"), 1)
        assert time.monotonic() - began < 5
        loads.gate.set()

    asyncio.run(run())


def test_a_bot_that_turned_out_to_be_damaged_is_loaded_anew_after_a_while(monkeypatch):
    async def run() -> None:
        loads = Loads()
        bots = LoadedBots(loads, budget=100)
        async with bots.of("a", "1") as damaged:
            bots.discard("a", "1", ValueError("not a number"))
        assert damaged.closed
        with pytest.raises(ValueError, match="not a number"):
            await touch(bots, "a")
        monkeypatch.setattr("serve.deployments.loaded_bots._BROKEN_SECONDS", -1.0)
        assert await touch(bots, "a") != [damaged] and len(loads.done) == 2

    asyncio.run(run())


def test_another_version_is_another_bot():
    async def run() -> None:
        bots = LoadedBots(Loads(), budget=100)
        async with bots.of("a", "1") as old, bots.of("a", "2") as new:
            assert old is not new

    asyncio.run(run())


def test_bots_that_are_unused_for_long_are_removed():
    async def run() -> None:
        bots = LoadedBots(Loads(), budget=100, idle_seconds=0.05)
        await touch(bots, "a")
        await asyncio.sleep(0.1)
        await touch(bots, "b")
        bots.sweep()
        assert ("a", "1") not in bots and ("b", "1") in bots

    asyncio.run(run())


def test_a_pool_removes_bots_that_were_deleted_from_the_store(monkeypatch, tmp_path):
    store = Store(fs.LocalFileSystem(), str(tmp_path / "birds"))
    for bot in ("owl", "wren"):
        store.write(f"bots/{bot}/1/config.json", b"{}")
    monkeypatch.setattr(pool, "load", lambda cache, bot, version, options: Loaded(bot, version))

    async def run() -> list[str]:
        worker = pool.PoolWorker.func_or_class(Cache(store, 0), 10**9, 600.0, {})
        for bot in ("owl", "wren"):
            async with worker.bots.of(bot, "1"):
                pass
        store.delete("bots/wren")
        await worker._remove_deleted()
        return [bot for bot, _ in worker.bots.held()]

    assert asyncio.run(run()) == ["owl"]
