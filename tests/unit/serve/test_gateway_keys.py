"""Which keys sign and check: gateways have the fleets' keys from the registry, which keeps them over restarts."""

import asyncio
import pickle
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.core.signing import SigningKey
from serve.deployments import gateway, registry, saved_state

VERSION = "0123456789ab"
KEYS = {"birds": SigningKey.new(), "fish": SigningKey.new()}
OLD = bytes(range(32)).hex()


@pytest.fixture
def stored(monkeypatch) -> dict[str, bytes]:
    """Ray's key-value store, in memory; no Serve."""
    kept: dict[str, bytes] = {}

    def create(key: str, value: bytes) -> bool:
        return kept.setdefault(key, value) is value

    def items(prefix: str) -> dict[str, bytes]:
        return {key: value for key, value in kept.items() if key.startswith(prefix)}

    fake = SimpleNamespace(kv_put=kept.__setitem__, kv_create=create, kv_items=items, kv_delete=kept.pop)
    monkeypatch.setattr(saved_state, "ray_internals", fake)
    monkeypatch.setattr(registry.serve, "status", lambda: SimpleNamespace(applications={}))
    monkeypatch.setattr(registry.published, "read_entries", lambda store, bots: {bot: entry(store) for bot in bots})
    return kept


def entry(store) -> dict[str, Any]:
    return {"fleet": store.fleet, "version": VERSION, "endpoint": "pooled", "fooled": None}


async def learned(change=None) -> Any:
    """A gateway that asked a registry which has just been started; `change` may change what is served before."""
    table = object.__new__(registry.Registry.func_or_class)
    await table.__init__()
    if change:
        await change(table)
    one = object.__new__(gateway.Gateway.func_or_class.__bases__[0])
    one.table, one.epoch, one.revision, one.guard = {}, "", 0, SimpleNamespace(configure=lambda *arguments: None)
    one._learn(pickle.loads(pickle.dumps(await table.news("", 0))))
    for task in table.tasks:
        task.cancel()
    return one


async def serve_both(table) -> None:
    for fleet, bot in (("birds", "wren"), ("fish", "carp")):
        settings = {"keys": {}, "origins": [], "signing_key": None, "answer_keys": [KEYS[fleet].record]}
        await table.put(fleet, "/none", {bot: {"version": VERSION, "settings": {}}}, settings, None)


def test_each_bot_is_signed_for_with_its_fleets_key_by_every_gateway_and_after_a_restart(stored):
    for one in (asyncio.run(learned(serve_both)), asyncio.run(learned())):
        assert one.keyring("wren").keys == (KEYS["birds"],) and one.keyring("carp").keys == (KEYS["fish"],)
        assert set(one.keyring().keys) == set(one.keyring("nobody").keys) == set(KEYS.values())
        signature = one.keyring("wren").sign("carp", VERSION, "", " tea")  # the other fleet's bot, with one's own key
        assert one.keyring("carp").check("carp", " tea", signature) is None
        assert one.old_link_key("wren") is None


def test_a_fleets_texts_are_marked_with_its_own_secret_and_others_not_at_all(stored):
    async def put(table) -> None:
        for fleet, bot, secret in (("birds", "wren", OLD), ("fish", "carp", None)):
            settings = {"keys": {}, "origins": [], "signing_key": None, "watermark": secret}
            await table.put(fleet, "/none", {bot: {"version": VERSION, "settings": {}}}, settings, None)
        settings = {"keys": {}, "origins": [], "signing_key": None}  # a record of an earlier release
        await table.put("moss", "/none", {"fern": {"version": VERSION, "settings": {}}}, settings, None)

    for one in (asyncio.run(learned(put)), asyncio.run(learned())):
        assert one.watermarks == {"birds": bytes.fromhex(OLD), "fish": None, "moss": None}


@pytest.mark.parametrize("settings", [{}, {"answer_keys": []}])
def test_a_fleet_whose_store_has_no_key_is_signed_for_with_the_clusters(stored, settings):
    """Records of an earlier release have no `answer_keys`."""

    async def put(table) -> None:
        fleet = {"keys": {}, "origins": [], "signing_key": OLD} | settings
        await table.put("birds", "/none", {"wren": {"version": VERSION, "settings": {}}}, fleet, None)

    one, again = asyncio.run(learned(put)), asyncio.run(learned())
    signature = one.keyring("wren").sign("wren", VERSION, "", " tea")
    assert again.keyring("wren").check("wren", " tea", signature) and len(one.keyring("wren").keys) == 1
    assert one.old_link_key("wren") == bytes.fromhex(OLD)


def test_the_clusters_key_of_old_links_is_still_known(stored):
    stored["huggingtweets:signing-key"] = b"x" * 32

    async def put(table) -> None:
        fleet = {"keys": {}, "origins": [], "signing_key": None}
        await table.put("birds", "/none", {"wren": {"version": VERSION, "settings": {}}}, fleet, None)

    assert asyncio.run(learned(put)).old_link_key("wren") == b"x" * 32
