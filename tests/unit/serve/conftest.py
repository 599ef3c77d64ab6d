"""For tests of the routes, over bots without models."""

from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from tests.support.fake_bots import FakeBots, routes


@pytest.fixture
def client(bots: FakeBots) -> Iterator[TestClient]:
    """A client of the gateway's routes over the file's own fixture `bots`; the gateway asks for no key."""
    with TestClient(routes(bots), base_url="http://bots.test") as client:
        yield client
