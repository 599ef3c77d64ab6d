"""The handles of the bots that are being talked to: a bounded number, those used longest ago are let go.

    with handles.of("bot-nasa", "BotEndpoint") as handle: ...

A handle costs memory, a long-poll at Serve's controller and metrics; with thousands of bots only the busy
ones are worth it. One in use is never closed.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ray import serve

LIMIT = 256


class Handles:
    """Keeps up to `limit` handles open."""

    def __init__(self, limit: int = LIMIT):
        self.limit = limit
        self._open: OrderedDict[str, Any] = OrderedDict()
        self._users: dict[str, int] = {}
        self._closing: set[asyncio.Task[None]] = set()

    @contextmanager
    def of(self, app: str, deployment: str) -> Iterator[Any]:
        """The handle of an application's deployment, for the length of a call."""
        if app not in self._open:
            self._open[app] = serve.get_deployment_handle(deployment, app_name=app, _check_exists=False)
        handle = self._open[app]
        self._open.move_to_end(app)
        self._users[app] = self._users.get(app, 0) + 1
        try:
            yield handle
        finally:
            self._users[app] -= 1
            if not self._users[app]:
                del self._users[app]
            self._close_some()

    def _close_some(self) -> None:
        idle = [app for app in self._open if app not in self._users]
        for app in idle[: max(0, len(self._open) - self.limit)]:
            task = asyncio.ensure_future(self._open.pop(app).shutdown_async())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)
