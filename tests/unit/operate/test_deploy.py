"""What `deploy` and `undeploy` do around Serve: one head for two first deploys, and no head that serves nothing."""

import tempfile
import threading
import time

import pytest

from pipeline.core import signing_keys, watermark_keys
from pipeline.core.errors import UserError
from pipeline.core.store import Store
from pipeline.operate import deploy as deploying
from tests.support import published


class FakeCluster:
    """A machine on which a head may run."""

    def __init__(self, monkeypatch):
        self.heads, self.running, self.problem = 0, False, ""
        self.host, self.opened = "127.0.0.1", False
        monkeypatch.setattr(deploying, "join", lambda: self.running)
        monkeypatch.setattr(deploying, "start_head", self.start)
        monkeypatch.setattr(deploying, "stop_head", self.stop)
        monkeypatch.setattr(deploying.serving, "deploy", self.deploy)

    def start(self, *options: str) -> str:
        time.sleep(0.3)
        self.heads, self.running = self.heads + 1, True
        return "started a local Ray head"

    def stop(self) -> bool:
        was_running, self.running = self.running, False
        return was_running

    def deploy(self, *arguments, **options):
        if self.problem:
            raise UserError(self.problem)
        done = {"address": "http://127.0.0.1:1", "host": self.host, "opened": self.opened}
        return done | {"deployed": [], "unchanged": []}


@pytest.fixture
def cluster(monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return FakeCluster(monkeypatch)


@pytest.fixture
def fleet(tmp_path):
    return published.fleet_of(tmp_path, ("wren",))


def test_two_first_deploys_at_once_start_one_head(cluster, fleet):
    threads = [threading.Thread(target=deploying.deploy, args=(fleet, None, lambda line: None)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert cluster.heads == 1


@pytest.mark.parametrize("host, warned", [("127.0.0.1", False), ("0.0.0.0", True)])
def test_where_serve_already_listens_to_other_machines_a_fleet_without_keys_is_warned(cluster, fleet, host, warned):
    cluster.host, said = host, []
    deploying.deploy(fleet, None, said.append)
    warnings = [line for line in said if line.startswith("warning: anyone who can reach http://0.0.0.0:1 can use")]
    assert fleet.serve.host == "127.0.0.1" and bool(warnings) == warned


def test_a_fleet_that_loses_its_keys_is_warned(cluster, fleet):
    cluster.opened, said = True, []
    deploying.deploy(fleet, None, said.append)
    assert "birds required a key until now and requires none any more" in said[-1]


def test_a_deploy_that_fails_stops_the_head_that_it_started_and_no_other(cluster, fleet):
    cluster.problem, said = "serve.port: taken", []
    with pytest.raises(UserError, match="taken"):
        deploying.deploy(fleet, None, said.append)
    assert not cluster.running and said[-1] == "stopped the local Ray head again: nothing is served"
    cluster.running = True
    with pytest.raises(UserError, match="taken"):
        deploying.deploy(fleet, None, said.append)
    assert cluster.running


def test_undeploy_says_what_still_listens(cluster, fleet, monkeypatch):
    said: list[str] = []
    monkeypatch.setattr(deploying.status, "served", lambda fleet: {})
    assert deploying.undeploy(fleet, None, said.append) == [] and said == ["removed 0 endpoints"]
    monkeypatch.setattr(deploying.status, "served", lambda fleet: {"wren": "0123456789ab"})
    deploying.undeploy(fleet, None, said.append)
    assert "still serves bots of birds" in said[-1] and "RAY_ADDRESS" in said[-1]


@pytest.mark.parametrize("watermark", [True, False])
def test_new_keys_sign_and_mark_and_old_ones_stay(cluster, tmp_path, watermark):
    fleet = published.fleet_of(tmp_path, ("wren",), serve={"port": 1, "watermark": watermark})
    store, said = Store.of(fleet), []
    watermark_keys.renew(store)
    deploying.deploy(fleet, None, said.append, new_key=True)
    assert len(watermark_keys.load(store)) == 1 + watermark and len(signing_keys.load(store).keys) == 1
    assert said[0].startswith("answers are signed and marked" if watermark else "answers are signed with")
