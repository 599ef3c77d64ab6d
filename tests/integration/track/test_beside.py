"""A whole online run with a slow W&B: training does not wait for it, and everything is written and sent later."""

import json
import time

from pipeline.core import fleet as fleets
from pipeline.core.store import Store
from pipeline.track import stored_runs


def test_a_run_does_not_wait_for_a_slow_wandb_and_a_second_adds_nothing(cluster, server, make_fleet, huggingtweets):
    path = make_fleet(("ada",), wandb={"mode": "auto"})
    server.delay = 5.0
    code, out, err = huggingtweets("run", path, "--json")
    assert code == 0, err
    version = json.loads(out)["bots"][0]["version"]
    store = Store.of(fleets.load(path))
    runs = stored_runs.runs(store)
    assert {stored_runs.id_of(name).split(".")[0] for name in runs} == {"tweets", f"ada-{version}", "fleet"}
    assert not stored_runs.synced(store)  # at 5 seconds a call, that takes a minute a run
    assert "in the background" in err
    server.delay = 0.0
    deadline = time.monotonic() + 150
    while stored_runs.unsynced(store):
        assert time.monotonic() < deadline, server.operations
        time.sleep(0.2)
    assert (f"ada-{version}", "ada-train") in server.uses
    calls = len(server.operations)
    assert huggingtweets("run", path)[0] == 0
    assert stored_runs.runs(store) == runs
    assert huggingtweets("sync", path)[0] == 0 and len(server.operations) == calls
