"""A W&B on loopback, with an account."""

import pytest

from tests.support.fake_wandb import WandbServer


@pytest.fixture
def server(monkeypatch):
    server = WandbServer()
    monkeypatch.setenv("WANDB_BASE_URL", server.address)
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    yield server
    server.stop()
