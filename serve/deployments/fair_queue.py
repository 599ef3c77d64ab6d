"""A bot's requests at one gateway: a number of them is passed on to its replicas, the others wait, fairly by client.

    queue = FairQueue()
    async with queue.place(client, places=256, waiting=64, end=loop.time() + 60):
        ...                                         # the request is passed on

A free place goes to the client with the fewest requests passed on. Where the queue is full, a request of a client with
fewer requests takes the place of the last one of the busiest client.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass


class Full(Exception):
    """No place is free, and no room in the queue for this client."""


@dataclass(eq=False)
class _Waiting:
    client: str
    turn: asyncio.Future[None]  # done when the request may be passed on


class FairQueue:
    """For one event loop."""

    def __init__(self) -> None:
        self._places = 0
        self._passed: Counter[str] = Counter()  # requests passed on, by client
        self._queue: list[_Waiting] = []

    @property
    def empty(self) -> bool:
        """Whether it has no requests."""
        return not self._queue and not self._passed.total()

    @asynccontextmanager
    async def place(self, client: str, places: int, waiting: int, end: float) -> AsyncIterator[None]:
        """Holds one of the bot's `places` during the block; before, the request waits for it.

        At most `waiting` requests wait, each until `end`, in seconds of the event loop's clock. Raises Full if no more
        may wait, TimeoutError at `end`.
        """
        self._places = places
        if len(self._queue) >= waiting and self._passed.total() >= places and not self._make_room(client):
            raise Full
        await self._wait(client, end)
        try:
            yield
        finally:
            self._give_back(client)

    async def _wait(self, client: str, end: float) -> None:
        one = _Waiting(client, asyncio.get_running_loop().create_future())
        self._queue.append(one)
        self._pass_on()
        try:
            async with asyncio.timeout_at(end):
                await one.turn
        except (asyncio.CancelledError, TimeoutError):
            if one.turn.cancelled():
                self._queue.remove(one)
            elif not one.turn.exception():  # its turn had just come
                self._give_back(client)
            raise

    def _give_back(self, client: str) -> None:
        self._passed[client] -= 1
        self._passed += Counter()  # drops clients without requests
        self._pass_on()

    def _pass_on(self) -> None:
        """Gives the places that are free to requests that wait."""
        while self._queue and self._passed.total() < self._places:
            one = min(self._queue, key=lambda one: self._passed[one.client])  # the first of equals
            self._queue.remove(one)
            self._passed[one.client] += 1
            one.turn.set_result(None)

    def _make_room(self, client: str) -> bool:
        """Ends the wait of the last request of the busiest client, if that has at least two more than this one."""
        requests = self._passed + Counter(one.client for one in self._queue)
        last = max(reversed(self._queue), key=lambda one: requests[one.client], default=None)
        if last is None or requests[last.client] < requests[client] + 2:
            return False
        self._queue.remove(last)
        last.turn.set_exception(Full())
        return True
