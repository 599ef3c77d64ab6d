"""Two fleets with a bot of the same name: the registry and a gateway keep them apart, without Ray."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from pipeline.core.store import Store
from serve.deployments import gateway, registry, saved_state
from serve.deployments.endpoint import app_name
from serve.deployments.handles import Handles
from serve.deployments.published import Watcher, open_storage
from serve.deployments.traffic import Traffic
from serve.engine.parameters import Parameters
from serve.engine.question import Question
from serve.http.errors import ApiError
from tests.support import registries
from tests.support.registries import new_registry

VERSIONS = {"small": "000000000001", "large": "000000000002"}


@pytest.fixture
def storage(tmp_path: Path) -> str:
    """Two fleets in which ada is published, with other display names."""
    for fleet, version in VERSIONS.items():
        folder = tmp_path / fleet / "bots" / "ada" / version
        folder.mkdir(parents=True)
        (folder / "profiles.json").write_text(f'{{"names": {{"ada": "Ada, {fleet}"}}, "pictures": []}}')
    return str(tmp_path)


async def put(one: Any, storage: str, fleet: str, endpoint: str = "dedicated", full_names: bool = False) -> None:
    await registries.put(one, storage, fleet, endpoint, VERSIONS[fleet], full_names=full_names)


async def gateway_of(one: Any) -> Any:
    """A gateway that has the registry's table; its handles record which bot of which application they are asked for."""
    gate: Any = object.__new__(gateway.Gateway.func_or_class.__bases__[0])  # type: ignore[attr-defined]
    gate.epoch, gate.revision, gate.table = "", 0, {}
    gate.guard, gate.traffic, gate.handles = FakeGuard(), Traffic(), FakeHandles()
    gate._learn(await one.news("", 0))
    gate._ask_for_news = one.news  # it is up to date
    return gate


class FakeGuard:
    def configure(self, *arguments: Any) -> None:
        pass


class FakeHandles(Handles):
    """Handles that only record calls."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, str]] = []

    def of(self, app: str, deployment: str) -> Any:
        return FakeHandle(self.asked, app)


class FakeHandle:
    def __init__(self, asked: list[tuple[str, str, str]], app: str):
        self.asked, self.app, self.answer = asked, app, self

    def __enter__(self) -> "FakeHandle":
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def options(self, **options: Any) -> "FakeHandle":
        return self

    def remote(self, bot: str, version: str, question: Question) -> "FakeHandle":
        self.asked.append((self.app, bot, version))
        return self

    def cancel(self) -> None:
        pass


async def asked(gate: Any, name: str) -> tuple[str, str, str]:
    """What is asked for a name: the application, the bot and its version."""
    async with gate._calling(await gate.known(name), 1, Question("My dream is", Parameters())):
        return gate.handles.asked[-1]


@pytest.mark.parametrize("endpoint", ["dedicated", "pooled"])
def test_each_name_leads_to_its_fleets_bot(storage, monkeypatch, endpoint):
    monkeypatch.setattr(gateway.ray_internals, "call_separately", lambda call, *arguments: call(*arguments))

    async def run() -> None:
        one = await new_registry(monkeypatch)
        await put(one, storage, "small", endpoint)
        with pytest.raises(ValueError, match="bot ada is already served for fleet small"):
            await put(one, storage, "large", endpoint)
        await put(one, storage, "large", endpoint, full_names=True)
        gate = await gateway_of(one)
        assert gate.catalogue().names == ["ada", "ada@large"]
        own = endpoint == "dedicated"
        small = (app_name("ada") if own else "pool-small", "ada", VERSIONS["small"])
        large = (app_name("ada@large") if own else "pool-large", "ada", VERSIONS["large"])
        for name in ("ada", "@ADA", "ada@small"):
            assert await asked(gate, name) == small
        for name in ("ada@large", "@Ada@LARGE"):
            assert await asked(gate, name) == large
        for name in ("ada@other", "ben@large", "ada@large@large"):
            with pytest.raises(ApiError, match="no such bot"):
                await gate.known(name)
        assert [gate.about(name)["names"]["ada"] for name in gate.catalogue().names] == ["Ada, small", "Ada, large"]
        assert gate.keyrings[gate.table["ada@large"]["fleet"]] == gate.keyring("ada@large")
        assert set(await one.bots("large")) == {"ada@large"}

    asyncio.run(run())


def test_a_short_name_never_passes_to_another_fleet_by_itself(storage, monkeypatch):
    async def run() -> None:
        one = await new_registry(monkeypatch)
        await put(one, storage, "small")
        await put(one, storage, "large", full_names=True)
        assert await one.remove("small") == ["ada"]
        gate = await gateway_of(one)
        assert gate.catalogue().names == ["ada@large"]
        with pytest.raises(ApiError, match="no such bot"):
            await gate.known("ada")
        await put(one, storage, "large")  # deployed again, under the short name
        gate = await gateway_of(one)
        assert gate.catalogue().names == ["ada"] and await gate.known("ada@large") == "ada"
        with pytest.raises(ValueError, match="already served for fleet large"):
            await put(one, storage, "small")

    asyncio.run(run())


def test_what_is_published_later_is_served_under_full_names_too(storage, monkeypatch):
    started: list[str] = []
    monkeypatch.setattr(registry.serve, "run_many", lambda targets: started.extend(target.name for target in targets))
    small, large = open_storage("small", storage), open_storage("large", storage)

    def publish(store: Store, bot: str, version: str) -> None:
        store.write(f"bots/{bot}/{version}/profiles.json", b"{}")
        store.write(f"bots/{bot}/current", version.encode())

    async def run() -> None:
        one = await new_registry(monkeypatch)
        for fleet, full_names in (("small", False), ("large", True)):
            await put(one, storage, fleet, "pooled", full_names)
            settings = one.fleets[fleet]["bots"]["ada"]["settings"]
            one.fleets[fleet] |= {"follow": {"settings": settings, "chosen": None}}
        for store in (small, large):
            publish(store, "ben", "0000000000bb")
            await one._look(store.fleet, one.fleets[store.fleet], Watcher(store))
        assert {name: entry["fleet"] for name, entry in one.entries.items()} == {
            "ada": "small",
            "ada@large": "large",
            "ben": "small",
            "ben@large": "large",
        }
        await put(one, storage, "large", "dedicated", full_names=True)
        publish(large, "ada", "0000000000aa")
        await one._look("large", one.fleets["large"], Watcher(large))
        await one.rolling["large"]
        assert started == [app_name("ada@large")]
        assert one.entries["ada@large"]["version"] == "0000000000aa"
        assert one.entries["ada"]["version"] == VERSIONS["small"]

    asyncio.run(run())


def test_settings_of_an_earlier_release_mean_short_names():
    record: Any = {"ada": {"version": VERSIONS["small"], "settings": {"endpoint": "pooled"}}}
    assert saved_state.by_served_name("small", record) == record
