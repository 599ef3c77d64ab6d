"""A person is taken out of a running service and of later runs."""

import json
import time

import httpx

from pipeline.core.store import Store
from pipeline.operate.forget import forget
from tests.support import published
from tests.support.toys import free_port

VERSION = "0123456789ab"
BOTS = ("owl", "owl-wren", "stork", "wren")


def test_the_persons_endpoints_are_removed_and_the_others_stay(cluster, tmp_path):
    from serve.deploy import deploy, served, undeploy

    port = free_port()
    fleet = published.fleet_of(tmp_path, BOTS, serve={"port": port})
    address = deploy(fleet, Store.of(fleet), dict.fromkeys(BOTS, VERSION))["address"]
    try:
        removed = forget(fleet, "wren").removed
        assert [item.name for item in removed if item.kind == "endpoint"] == ["owl-wren", "wren"]
        assert set(served()) == {"owl", "stork"}
        end = time.monotonic() + 30
        while httpx.get(f"{address}/bots/wren").status_code != 404:
            assert time.monotonic() < end, "still served"
            time.sleep(0.1)
        assert [bot["name"] for bot in httpx.get(f"{address}/bots").json()["bots"]] == ["owl", "stork"]
    finally:
        undeploy(fleet.fleet)


def test_the_next_run_leaves_them_out(cluster, make_fleet, huggingtweets):
    path = make_fleet(("ada", "ben"), bots=["ada", ["ada", "ben"], "ben"])
    assert huggingtweets("prepare", path)[0] == 0
    assert huggingtweets("forget", path, "Ada", "--json")[0] == 0
    (path.parent / "tweets" / "ben.csv").touch()  # something to prepare anew
    code, out, err = huggingtweets("prepare", path, "--json")
    assert code == 0, err
    rows = {row["bot"]: row for row in json.loads(out)["bots"]}
    assert {bot: row["status"] for bot, row in rows.items()} == {
        "ada": "skipped",
        "ada-ben": "skipped",
        "ben": "prepared",
    }
    assert "@ada was removed from this fleet" in rows["ada-ben"]["reason"]
    everybody = make_fleet(("ada", "ben"))
    code, out, _ = huggingtweets("prepare", everybody, "--json")
    assert [row["bot"] for row in json.loads(out)["bots"]] == ["ben"]
