"""What a pool's worker holds: within its budget, one load for all who wait, never one in use let go."""

import asyncio
import threading
import time
from types import SimpleNamespace

import pytest
from pyarrow import fs

from pipeline.core.store import Store
from serve.deployments import pool
from serve.deployments.disk_cache import Cache
from serve.deployments.residents import Residents


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


async def touch(residents: Residents, *bots: str) -> list[Loaded]:
    held = []
    for bot in bots:
        async with residents.of(bot, "1") as loaded:
            held.append(loaded)
    return held  # type: ignore[return-value]


def test_a_bot_is_loaded_once_and_the_longest_unused_goes_first():
    async def run() -> None:
        loads = Loads()
        residents = Residents(loads, budget=20)
        a, b, _ = await touch(residents, "a", "b", "a")
        assert loads.done == [("a", "1"), ("b", "1")] and residents.bytes == 20
        await touch(residents, "c")
        assert b.closed and not a.closed and len(residents) == 2
        counts = residents.counts()
        assert (counts["loads"], counts["evictions"]) == (3, 1) and residents.counts()["loads"] == 0

    asyncio.run(run())


def test_one_in_use_is_never_let_go_even_over_the_budget():
    async def run() -> None:
        residents = Residents(Loads(), budget=10)
        async with residents.of("a", "1") as a, residents.of("b", "1") as b:
            await touch(residents, "c")
            assert not a.closed and not b.closed  # type: ignore[attr-defined]
        await touch(residents, "d")
        assert len(residents) == 1

    asyncio.run(run())


def test_all_who_wait_share_one_load_and_others_are_not_held_up():
    async def run() -> None:
        loads = Loads()
        residents = Residents(loads, budget=100)
        await touch(residents, "warm")
        loads.gate.clear()
        waiting = [asyncio.create_task(touch(residents, "slow")) for _ in range(5)]
        await asyncio.sleep(0.05)
        await asyncio.wait_for(touch(residents, "warm"), 1)
        waiting[0].cancel()  # who hangs up does not take the load from the others
        loads.gate.set()
        await asyncio.gather(*waiting[1:])
        assert loads.done.count(("slow", "1")) == 1

    asyncio.run(run())


def test_a_broken_bot_says_why_and_is_not_tried_at_once_again():
    async def run() -> None:
        loads = Loads()
        residents = Residents(loads, budget=100)
        for _ in range(2):
            began = time.monotonic()
            with pytest.raises(ValueError, match="no weights"):
                await touch(residents, "broken")
        loads.gate.clear()
        with pytest.raises(ValueError, match="no weights"):
            await asyncio.wait_for(touch(residents, "broken"), 1)
        assert time.monotonic() - began < 5
        loads.gate.set()

    asyncio.run(run())


def test_a_bot_that_turned_out_to_be_damaged_is_loaded_anew_after_a_while(monkeypatch):
    async def run() -> None:
        loads = Loads()
        residents = Residents(loads, budget=100)
        async with residents.of("a", "1") as damaged:
            residents.discard("a", "1", ValueError("not a number"))
        assert damaged.closed
        with pytest.raises(ValueError, match="not a number"):
            await touch(residents, "a")
        monkeypatch.setattr("serve.deployments.residents._BROKEN_SECONDS", -1.0)
        assert await touch(residents, "a") != [damaged] and len(loads.done) == 2

    asyncio.run(run())


def test_another_version_is_another_bot():
    async def run() -> None:
        residents = Residents(Loads(), budget=100)
        async with residents.of("a", "1") as old, residents.of("a", "2") as new:
            assert old is not new

    asyncio.run(run())


def test_those_unused_for_long_go():
    async def run() -> None:
        residents = Residents(Loads(), budget=100, idle_seconds=0.05)
        await touch(residents, "a")
        await asyncio.sleep(0.1)
        await touch(residents, "b")
        residents.sweep()
        assert ("a", "1") not in residents and ("b", "1") in residents

    asyncio.run(run())


def test_a_pool_lets_go_of_what_was_deleted_from_the_store(monkeypatch, tmp_path):
    store = Store(fs.LocalFileSystem(), str(tmp_path / "birds"))
    for bot in ("owl", "wren"):
        store.write(f"bots/{bot}/1/config.json", b"{}")
    monkeypatch.setattr(pool, "load", lambda cache, bot, version, options: Loaded(bot, version))

    async def run() -> list[str]:
        worker = pool.PoolWorker.func_or_class(Cache(store, 0), 10**9, 600.0, {})
        for bot in ("owl", "wren"):
            async with worker.residents.of(bot, "1"):
                pass
        store.delete("bots/wren")
        await worker._remove_deleted()
        return [bot for bot, _ in worker.residents.held()]

    assert asyncio.run(run()) == ["owl"]
