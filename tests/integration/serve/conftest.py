"""For tests of endpoints: fleets of toy bots behind real HTTP."""

import json
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.serve_fleet import publish
from tests.support.toys import free_port


@pytest.fixture(scope="module")
def make_served(tmp_path_factory: pytest.TempPathFactory, base: Path, cluster: str) -> Iterator[Callable[..., Any]]:
    """Publishes toy bots and deploys them; (HTTP client, fleet, storage folder, versions)."""
    from pipeline.core import fleet as fleets
    from pipeline.core.store import Store
    from serve.deploy import deploy, undeploy

    done: list[Callable[[], None]] = []
    port = free_port()

    def make(name: str, bots: tuple[str, ...], **settings: Any) -> Any:
        folder = tmp_path_factory.mktemp(name)
        versions = {bot: publish(folder / "fleets" / name, base, bot) for bot in bots}
        serve_keys = {"port": port, "deadline_seconds": 90} | settings
        (folder / "fleet.yaml").write_text(json.dumps({"fleet": name, "tweets": ["none.csv"], "serve": serve_keys}))
        fleet = fleets.load(folder / "fleet.yaml")
        address = deploy(fleet, Store.of(fleet), versions)["address"]
        client = httpx.Client(base_url=address, timeout=120)
        done.append(lambda: (undeploy(name), client.close(), shutil.rmtree(folder)))  # type: ignore[arg-type,func-returns-value]
        return client, fleet, folder / "fleets" / name, versions

    yield make
    for end in reversed(done):
        end()
    from ray import serve

    assert not serve.status().applications  # nothing is left behind
    end = time.monotonic() + 30
    while True:
        try:
            httpx.get(f"http://127.0.0.1:{port}/health", timeout=5)
        except httpx.ConnectError:
            break
        except httpx.HTTPError:
            pass
        assert time.monotonic() < end, "something still listens"
        time.sleep(0.2)
