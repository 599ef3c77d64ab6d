"""What the demo says before it begins."""

from dataclasses import replace

import pytest

from pipeline.core import fleet as fleets
from pipeline.core.own_code import ASSETS
from pipeline.operate.demo import _expectation
from pipeline.plan.job import open_job


@pytest.fixture(scope="module")
def job():
    return open_job(fleets.load(ASSETS / "demo.yaml"))


def test_it_names_the_base_and_how_long_training_takes(job):
    assert (
        _expectation(job, 2)
        == "four bots on mini (5 million parameters): training takes less than a minute on 2 CPU cores"
    )
    longer = replace(job, train=job.train.model_copy(update={"epochs": 40}))
    assert _expectation(longer, 1).endswith("takes some 20 minutes on 1 CPU core")
