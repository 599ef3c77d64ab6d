"""Unit tests start no Ray cluster: a test that tries to fails here, and belongs in tests/integration."""

from collections.abc import Iterator
from typing import Any, NoReturn

import pytest
import ray
from ray._private.node import Node

from pipeline.core import ray_internals, ray_session


@pytest.fixture(scope="module", autouse=True)
def no_cluster() -> Iterator[None]:
    """Starting or joining a cluster fails; a cluster that happens to run on this machine is not seen."""

    def refuse(*arguments: Any, **options: Any) -> NoReturn:
        raise AssertionError("a unit test may not start or join a Ray cluster: move it to tests/integration")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ray, "init", refuse)
        patch.setattr(Node, "__init__", refuse)
        patch.setattr(ray_session, "start_head", refuse)
        patch.setattr(ray_internals, "running_cluster", lambda: None)
        yield


@pytest.fixture(scope="session")
def cluster() -> NoReturn:
    """Hides the cluster that integration tests share."""
    raise AssertionError("a unit test may not use the fixture `cluster`: move it to tests/integration")
