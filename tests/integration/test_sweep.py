"""A sweep on a cluster: what is trained, and what is left in the store."""

import json

import pytest
import yaml

from pipeline.core import fleet as fleets
from pipeline.core.store import Store
from pipeline.operate.sweep import PAGE


@pytest.mark.usefixtures("cluster")
def test_a_sweep_trains_what_is_new_and_leaves_no_models(make_fleet, huggingtweets):
    path = make_fleet(("ada", "ben"), sweep={"bots": 1, "epochs": [1, 3]}, train={"lanes": 1})
    code, out, err = huggingtweets("sweep", path, "--json")
    assert code == 0, err
    first = json.loads(out)
    assert sorted(row["settings"]["epochs"] for row in first["recipes"]) == [1, 3]
    assert first["train"] == {"epochs": 3}  # the toys have far to go
    store = Store.of(fleets.load(path))
    assert store.list("work/trained") == [] and store.list("bots") == [] and store.exists(PAGE)
    code, out, err = huggingtweets("sweep", path)
    assert code == 0 and yaml.safe_load(out) == {"train": {"epochs": 3}} and "0 bots to train" in err
