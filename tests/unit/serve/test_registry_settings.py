"""A deploy changes a fleet's settings while its registry takes over a new version: the new settings stay."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from pipeline.core.store import Store
from serve.deployments import registry
from serve.deployments.published import Watcher, open_storage
from tests.support.registries import new_registry, put

OLD, NEW = "000000000001", "000000000002"


def publish(store: Store, version: str) -> None:
    store.write(f"bots/ada/{version}/profiles.json", b"{}")
    store.write("bots/ada/current", version.encode())


@pytest.mark.parametrize("endpoint", ["dedicated", "pooled"])
def test_settings_of_a_deploy_in_the_meantime_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, endpoint: str):
    started: list[Any] = []

    async def run() -> None:
        one = await new_registry(monkeypatch)
        loop = asyncio.get_running_loop()

        def deployed(replicas: int) -> Any:
            return put(one, str(tmp_path), "small", endpoint, version=OLD, max_replicas=replicas)

        def run_many(targets: list[Any]) -> None:
            started.append(targets)
            if len(started) == 1:  # while Serve loads the new version
                asyncio.run_coroutine_threadsafe(deployed(7), loop).result(10)

        monkeypatch.setattr(registry.serve, "run_many", run_many)
        store = open_storage("small", str(tmp_path))
        publish(store, OLD)
        watcher = Watcher(store)
        await deployed(2)
        publish(store, NEW)
        record = one.fleets["small"]  # as it was when the registry began to look
        if endpoint == "pooled":
            await deployed(7)
        for _ in range(2):
            await one._look("small", record, watcher)
            if "small" in one.rolling:
                await one.rolling["small"]
            record = one.fleets["small"]
        assert record["bots"]["ada"]["version"] == NEW
        assert record["bots"]["ada"]["settings"]["max_replicas"] == 7
        assert len(started) == (2 if endpoint == "dedicated" else 0)  # once more with the new settings

    asyncio.run(run())
