"""Handles: only so many are kept, and none in use is closed."""

import asyncio

from serve.deployments import handles
from serve.deployments.handles import Handles


class Handle:
    def __init__(self, app: str):
        self.app, self.closed = app, False

    async def shutdown_async(self) -> None:
        self.closed = True


def test_the_longest_unused_are_closed_and_one_in_use_is_not(monkeypatch):
    made: list[Handle] = []

    def get(deployment: str, app_name: str, _check_exists: bool) -> Handle:
        made.append(Handle(app_name))
        return made[-1]

    monkeypatch.setattr(handles.serve, "get_deployment_handle", get)

    async def run() -> None:
        kept = Handles(limit=2)
        with kept.of("a", "Bot") as a:
            for app in ("b", "c", "d"):
                with kept.of(app, "Bot"):
                    pass
            with kept.of("a", "Bot") as again:
                assert again is a
            await asyncio.sleep(0.01)
            assert [one.app for one in made if one.closed] == ["b", "c"]
        with kept.of("b", "Bot"):
            pass
        await asyncio.sleep(0.01)
        assert [one.app for one in made] == ["a", "b", "c", "d", "b"]
        assert [one.app for one in made if one.closed] == ["b", "c", "d"]

    asyncio.run(run())
