"""A registry without Ray: it saves nothing, and follows the stores only when it is told to."""

from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.core.settings import Serve
from pipeline.core.signing import SigningKey
from serve.deployments import registry, saved_state

_GATEWAY = {"keys": {}, "origins": [], "signing_key": None, "answer_keys": []}


async def new_registry(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The registry; what it would run on Serve goes to `registry.serve.run_many`."""
    nothing = SimpleNamespace(
        kv_items=lambda prefix: {},
        kv_put=lambda *entry: None,
        kv_create=lambda *entry: None,
        kv_delete=lambda key: None,
    )
    monkeypatch.setattr(saved_state, "ray_internals", nothing)
    monkeypatch.setattr(saved_state, "answer_key", SigningKey.new)
    monkeypatch.setattr(registry.ray_internals, "listen_on_loopback", lambda: None)
    one: Any = object.__new__(registry.Registry.func_or_class)  # type: ignore[attr-defined]
    await one.__init__()
    for task in one.tasks:
        task.cancel()
    return one


async def put(one: Any, storage: str, fleet: str, endpoint: str, version: str, **settings: Any) -> None:
    """Serves the bot ada of this fleet."""
    record = {"version": version, "settings": Serve(endpoint=endpoint, **settings).model_dump(mode="json")}  # type: ignore[arg-type]
    await one.put(fleet, storage, {"ada": record}, _GATEWAY, None)
