"""What a gateway asks the registry, without either of them in Ray."""

import asyncio
from typing import Any

import pytest
import ray

from serve.deployments import gateway
from serve.http.errors import ApiError
from serve.http.guard import Guard


class FakeRegistry:
    """Counts the questions, each of which takes a moment."""

    def __init__(self) -> None:
        self.asked, self.table = 0, {}
        self.news = self

    async def remote(self, *arguments: Any) -> dict[str, Any]:
        self.asked += 1
        table = dict(self.table)
        await asyncio.sleep(0.02)
        return table


def test_many_who_guess_names_ask_the_registry_a_few_times():
    async def run() -> int:
        registry = FakeRegistry()
        one: Any = object.__new__(gateway.Gateway.func_or_class.__bases__[0])  # without HTTP
        one.registry, one.table, one.epoch, one.revision = registry, {}, "", 0
        one._asking, one._asked_at = asyncio.Lock(), 0.0
        one._learn = one.table.update

        async def guess(name: str) -> None:
            with pytest.raises(ApiError, match="no such bot"):
                await one.known(name)

        await asyncio.gather(*(guess(f"bot_{i}") for i in range(200)))
        asked = registry.asked
        registry.table["nasa"] = {}
        assert await one.known("NASA") == "nasa"  # what is new is still found at once
        return asked

    assert asyncio.run(run()) <= 2


@pytest.mark.parametrize("cores,gateways", [(2.0, 1), (4.0, 2)])
def test_where_there_is_room_two_gateways_run_so_that_one_may_be_lost(monkeypatch, cores, gateways):
    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": cores})
    scaling = gateway.application()._bound_deployment._deployment_config.autoscaling_config
    assert (scaling.min_replicas, scaling.max_replicas) == (gateways, 4)


def test_the_orders_of_the_bots_follow_the_table():
    one: Any = object.__new__(gateway.Gateway.func_or_class.__bases__[0])  # without HTTP
    one.guard, one.table, one.catalogues, one.epoch, one.revision = Guard(), {}, {}, "", 0

    def learn(revision: int, bots: dict[str, int | None]) -> None:
        entries = {
            bot: kept and {"counts": {bot: {"kept": kept}}, "metrics": {}, "names": {bot: f"{bot} {kept}"}}
            for bot, kept in bots.items()
        }
        news = {"epoch": "e", "revision": revision, "whole": False, "bots": entries, "keys": {}, "origins": []}
        one._learn(news | {"gateways": 1, "keyrings": {}, "old_link_keys": {}, "storages": {}})

    learn(1, {"wren": 300, "lark": 200})
    assert (one.catalogue().names, one.catalogue("tweets").names) == (["lark", "wren"], ["wren", "lark"])
    learn(2, {"dove": 900, "lark": None})
    assert (one.catalogue().names, one.catalogue("tweets").names) == (["dove", "wren"], ["dove", "wren"])
    known = one.catalogue().names
    learn(3, {"wren": 300})
    assert one.catalogue().names is known  # nothing that decides an order has changed
    assert [known[place] for place in one.catalogue().search("wren 3")] == ["wren"]
    learn(4, {"wren": 1_000})
    assert list(one.catalogue().search("wren 3")) == [] and list(one.catalogue().search("WREN 1")) == [1]
    assert one.catalogue("tweets").names == ["wren", "dove"]
