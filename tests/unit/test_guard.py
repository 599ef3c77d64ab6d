"""The guard of tests/unit/conftest.py holds: no unit test starts a Ray cluster."""

import pytest
import ray

from pipeline.core import ray_session

# looked up when the test runs: when this module is imported, nothing is guarded yet
STARTS = {
    "init": lambda: ray.init(),
    "ensure": lambda: ray_session.ensure(),
    "start_head": lambda: ray_session.start_head(),
    "a first call": lambda: ray.put(1),
}


@pytest.mark.parametrize("start", STARTS.values(), ids=STARTS)
def test_a_unit_test_cannot_start_a_cluster(start):
    with pytest.raises(AssertionError, match="tests/integration"):
        start()
    assert not ray.is_initialized()
