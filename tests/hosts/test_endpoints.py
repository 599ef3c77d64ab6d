"""Endpoints on three hosts under requests: replicas scale with the load, a host dies, the head dies.

make test-cluster ARGS='-k endpoints --log-cli-level=INFO'

What runs is the RayService's own config (cluster/kuberay/service), applied as the operator of KubeRay does: gateways on
both workers, and a pool; a fleet with endpoints of its own is deployed beside it. Questions go to host 2.
"""

import json
import logging
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.hosts.lab import HEAD, NETWORK, Lab, unavailable
from tests.support.toys import ROOT

MANIFEST = ROOT / "cluster" / "kuberay" / "service" / "rayservice.yaml"
DASHBOARD = f"http://{HEAD}:8265"
WORKERS = {f"{NETWORK}.12", f"{NETWORK}.13"}
GATEWAY = f"http://{NETWORK}.12:8000"
VERSION = "000000000001"
MOST = 2  # replicas of a bot
log = logging.getLogger("endpoints")
pytestmark = pytest.mark.skipif(unavailable() is not None, reason=f"a lab {unavailable()}")


@pytest.fixture(scope="module")
def lab(base: Path, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Lab]:
    with Lab(3, ROOT, redis=True, packaged=True) as lab:
        published = tmp_path_factory.mktemp("published")
        upload(lab, published, base, {"politicians": ("ada", "ben"), "own": ("cleo",)})
        config = service_config()
        put = f"ServeSubmissionClient({DASHBOARD!r}).deploy_applications({config!r})"
        lab.operator(f"from ray.dashboard.modules.serve.sdk import ServeSubmissionClient; {put}")
        wait_for(lambda: asked(lab, "/bots")["total"] == 2, 300, "the service did not come up")
        own = {"endpoint": "dedicated", "max_replicas": MOST, "target_ongoing_requests": 1, "cpus_per_replica": 1}
        deploy(lab, "own", own, ("cleo",))  # a host has room for one of its replicas
        yield lab
        lab.keep = bool(request.session.testsfailed)


def upload(lab: Lab, folder: Path, base: Path, fleets: dict[str, tuple[str, ...]]) -> None:
    """Publishes toy bots in the store that the hosts share."""
    code = f"""
import sys; sys.path.insert(0, {str(ROOT)!r})
import boto3, pathlib
from tests.support.serve_fleet import publish
folder = pathlib.Path({str(folder)!r})
for fleet, bots in {fleets!r}.items():
    for bot in bots:
        publish(folder / fleet, pathlib.Path({str(base)!r}), bot)
client = boto3.client("s3")
client.create_bucket(Bucket="fleets")
for path in folder.rglob("*"):
    if path.is_file():
        client.upload_file(str(path), "fleets", "lab/" + str(path.relative_to(folder)))
"""
    lab.operator(code)


def service_config() -> dict[str, Any]:
    """The manifest's, for hosts of two cores."""
    [service] = [one for one in yaml.safe_load_all(MANIFEST.read_text()) if one["kind"] == "RayService"]
    config: dict[str, Any] = yaml.safe_load(service["spec"]["serveConfigV2"])
    gateway, pool = config["applications"]
    assert gateway["deployments"][0]["autoscaling_config"]["min_replicas"] == 2
    pool["args"]["storage"] = "s3://fleets/lab"
    pool["args"]["serve"] |= {"max_replicas": 3, "cpus_per_replica": 0.1, "deadline_seconds": 150}
    return config


def deploy(lab: Lab, name: str, settings: dict[str, Any], bots: tuple[str, ...]) -> None:
    """Deploys a fleet of published bots, from the head."""
    keys = {"host": "0.0.0.0", "idle_seconds": 10, "deadline_seconds": 150} | settings
    fleet = {"fleet": name, "tweets": ["none.csv"], "storage": "s3://fleets/lab", "serve": keys}
    (lab.state / f"{name}.yaml").write_text(json.dumps(fleet))
    code = f"""
from pipeline.core import fleet, ray_session
from pipeline.core.store import Store
from serve.deploy import deploy
loaded = fleet.load("{name}.yaml")
with ray_session.session():
    assert ray_session.join()
    print(deploy(loaded, Store.of(loaded), dict.fromkeys({bots!r}, {VERSION!r})))
"""
    done = lab.run(1, [f"{lab.venv}/bin/python", "-c", code], timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr


def asked(lab: Lab, path: str) -> Any:
    """What the gateway says to a GET, or {} with nothing in it."""
    code = f"import urllib.request; print(urllib.request.urlopen({GATEWAY + path!r}, timeout=10).read().decode())"
    try:
        return json.loads(lab.operator(code))
    except (AssertionError, ValueError):  # nothing listens yet
        return {"total": 0}


def replicas(lab: Lab, application: str) -> dict[str, int]:
    """How many replicas of an application run on each host, by address."""
    code = f"""
import collections, json
from ray.dashboard.modules.serve.sdk import ServeSubmissionClient
details = ServeSubmissionClient({DASHBOARD!r}).get_serve_details()["applications"][{application!r}]
found = [one for deployment in details["deployments"].values() for one in deployment["replicas"]]
print(json.dumps(collections.Counter(one["node_ip"] for one in found if one["state"] == "RUNNING")))
"""
    return json.loads(lab.operator(code).splitlines()[-1])  # type: ignore[no-any-return]


@contextmanager
def load(lab: Lab, bots: str, width: int = 3) -> Iterator[dict[str, Any]]:
    """Asks these bots for the length of the block; what became of it is in the dictionary afterwards."""
    command = [sys.executable, str(Path(__file__).with_name("load.py")), GATEWAY, str(width), bots]
    process = lab.outside(command, stdin=subprocess.PIPE)
    told: dict[str, Any] = {}
    try:
        yield told
    finally:
        out, _ = process.communicate(timeout=300)
        told |= json.loads(out.splitlines()[-1])
        log.info("asked %s: %s", bots, told)


def wait_for(what: Callable[[], bool], seconds: float, otherwise: str) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, otherwise
        time.sleep(2)


def test_replicas_come_and_go_with_the_load_and_a_host_that_dies_costs_no_answer(lab: Lab):
    assert not replicas(lab, "bot-cleo")
    with load(lab, "cleo,ada,ben", width=6) as told:
        wait_for(lambda: sum(replicas(lab, "bot-cleo").values()) == MOST, 200, "it did not scale to its maximum")
        spread = {name: replicas(lab, name) for name in ("bot-cleo", "pool-politicians", "gateway")}
        log.info("replicas under load: %s", spread)
        assert all(set(hosts) >= WORKERS for hosts in spread.values())  # what needs no core may stand on the head too
        time.sleep(5)
        lab.kill(3)
        log.info("host 3 has lost its power")
        time.sleep(25)
    assert set(told["asked"]) == {"200"}, told
    lab.start(3)
    wait_for(lambda: lab.alive() == 3, 120, "the host did not come back")
    wait_for(lambda: not replicas(lab, "bot-cleo"), 120, "it did not go back to sleep")


def test_endpoints_answer_while_the_head_is_gone_and_the_head_remembers(lab: Lab):
    wait_for(lambda: len(replicas(lab, "gateway")) >= 2, 120, "no two gateways")
    with load(lab, "ada,ben", width=2) as told:
        time.sleep(5)
        lab.kill(1)
        log.info("the head has lost its power")
        time.sleep(20)
        lab.start(1)
        wait_for(lambda: lab.alive() == 3, 180, "the head did not come back")
        log.info("the head is back")
        time.sleep(10)
    assert set(told["asked"]) == {"200"}, told
    assert told["asked"]["200"] > 20
    bots = {bot["name"] for bot in asked(lab, "/bots")["bots"]}
    assert bots == {"ada", "ben", "cleo"}  # the registry's table came back with the head


def test_a_bot_that_slept_while_the_head_was_gone_wakes_afterwards(lab: Lab):
    with load(lab, "cleo", width=1) as told:  # only a controller that is back, and is heard, can wake it
        time.sleep(30)
    assert set(told["asked"]) == {"200"}, told
