"""One client's attempt to fill a bot's queue, and what others get of the bot meanwhile."""

import asyncio

import pytest

from serve.deployments.fair_queue import FairQueue, Full

PLACES, WAITING = 3, 4


class Crowd:
    """Requests for one bot; `passed_on` and `refused` list their clients in order."""

    def __init__(self) -> None:
        self.queue, self.passed_on, self.refused = FairQueue(), [], []
        self.ends: list[asyncio.Event] = []

    async def ask(self, client: str, seconds: float = 30.0) -> asyncio.Task[None]:
        """A request, once all have had the time to be passed on."""
        task = asyncio.create_task(self._request(client, asyncio.get_running_loop().time() + seconds))
        await asyncio.sleep(0.001)
        return task

    async def _request(self, client: str, end: float) -> None:
        try:
            async with self.queue.place(client, PLACES, WAITING, end):
                self.passed_on.append(client)
                self.ends.append(asyncio.Event())
                await self.ends[-1].wait()
        except Full:
            self.refused.append(client)

    async def answer(self, count: int) -> None:
        """Ends the requests that were passed on first."""
        for _ in range(count):
            self.ends.pop(0).set()
            await asyncio.sleep(0.001)


def test_a_client_that_fills_the_queue_keeps_nobody_else_out_and_nobody_else_behind_it():
    async def attack() -> None:
        crowd = Crowd()
        for _ in range(PLACES + WAITING + 5):
            await crowd.ask("attacker")
        assert crowd.refused == ["attacker"] * 5  # alone it may have all places
        for client in ("ada", "ben"):
            await crowd.ask(client)
        assert crowd.refused == ["attacker"] * 7 and crowd.passed_on == ["attacker"] * PLACES
        await crowd.answer(2)
        assert crowd.passed_on[PLACES:] == ["ada", "ben"]
        await crowd.answer(5)
        assert crowd.passed_on[PLACES + 2 :] == ["attacker"] * 2 and crowd.queue.empty

    asyncio.run(attack())


def test_a_full_queue_of_many_clients_refuses_one_more():
    async def attack() -> None:
        crowd = Crowd()
        for number in range(PLACES + WAITING + 1):
            await crowd.ask(f"client {number}")
        assert crowd.refused == [f"client {PLACES + WAITING}"]

    asyncio.run(attack())


def test_requests_that_hang_up_or_wait_too_long_leave_the_queue():
    async def attack() -> None:
        crowd = Crowd()
        tasks = [await crowd.ask("attacker") for _ in range(PLACES + 2)]
        late = await crowd.ask("ada", seconds=0.02)
        with pytest.raises(TimeoutError):
            await late
        tasks[-1].cancel()  # it waits
        tasks[0].cancel()  # it was passed on, so that the other one that waits is
        await asyncio.wait([tasks[-1], tasks[0]])
        await asyncio.sleep(0.001)
        assert crowd.passed_on == ["attacker"] * (PLACES + 1)
        del crowd.ends[0]
        await crowd.answer(PLACES)
        assert crowd.queue.empty

    asyncio.run(attack())


def test_a_request_that_hangs_up_as_its_turn_comes_gives_its_place_back():
    async def attack() -> None:
        crowd = Crowd()
        for _ in range(PLACES - 1):
            await crowd.ask("attacker")
        async with crowd.queue.place("ben", PLACES, WAITING, asyncio.get_running_loop().time() + 30):
            waits = await crowd.ask("ada")
        waits.cancel()
        await asyncio.wait([waits])
        assert "ada" not in crowd.passed_on
        await crowd.answer(PLACES - 1)
        assert crowd.queue.empty

    asyncio.run(attack())
