"""The order of the integration tests: files that take long begin first, so that no process waits at the end for one."""

from pathlib import Path

import pytest

# in seconds of two processes side by side; the others take less than two minutes each
LONG = (
    "test_run",
    "test_train",
    "test_interrupt",
    "test_clients",
    "test_pool",
    "test_demo",
    "test_watch",
    "test_pretrain",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the tests of long files first, after any unit tests; those of a file stay together and in their order."""
    place = {name: number for number, name in enumerate(LONG)}
    here = Path(__file__).parent
    items.sort(key=lambda item: place.get(item.path.stem, len(LONG)) if here in item.path.parents else -1)
