"""The Serve config of the RayService, on the tests' cluster, over bots in a real S3 server."""

import json
import uuid
from pathlib import Path

import httpx
import pytest
import yaml
from ray import serve
from ray.serve.schema import ServeDeploySchema

from pipeline.core import checksums
from pipeline.core import fleet as fleets
from pipeline.core.store import Store
from tests.support.s3 import BUCKET
from tests.support.serve_fleet import VERSION, publish
from tests.support.toys import ROOT, free_port, until

MANIFEST = ROOT / "cluster" / "kuberay" / "service" / "rayservice.yaml"
STORAGE = f"s3://{BUCKET}/service-{uuid.uuid4().hex}"  # nothing of an earlier run is on this node's disk
ASK = {"inputs": "Engine", "parameters": {"max_new_tokens": 4, "min_new_tokens": 4, "seed": 1}}


@pytest.fixture(scope="module")
def store(s3, base, tmp_path_factory) -> Store:
    folder = tmp_path_factory.mktemp("published")
    store = Store.of(fleets.Fleet(fleet="politicians", tweets=["x.csv"], storage=STORAGE))
    for bot in ("ada", "ben"):
        upload(store, folder, base, bot)
    return store


def upload(store: Store, folder: Path, base: Path, bot: str) -> None:
    publish(folder, base, bot)
    files = {path.name: path.read_bytes() for path in (folder / "bots" / bot / VERSION).iterdir()}
    store.write_folder(f"bots/{bot}/{VERSION}", files | {checksums.FILE: checksums.of(files)})
    store.write(f"bots/{bot}/current", VERSION.encode())


@pytest.fixture(scope="module")
def config() -> dict:
    """The manifest's, for one node of two cores."""
    [service] = [one for one in yaml.safe_load_all(MANIFEST.read_text()) if one["kind"] == "RayService"]
    config = yaml.safe_load(service["spec"]["serveConfigV2"])
    config["http_options"] = {"host": "127.0.0.1", "port": free_port()}
    gateway, pool = config["applications"]
    gateway["deployments"][0]["autoscaling_config"]["min_replicas"] = 1
    pool["args"]["storage"] = STORAGE
    pool["args"]["serve"] |= {"min_replicas": 1, "max_replicas": 1, "cpus_per_replica": 0.1, "cache_gb": 0.1}
    return config


@pytest.fixture(scope="module")
def client(cluster, store, config):
    """HTTP to what the config brings up."""
    serve.start(proxy_location=config["proxy_location"], http_options=config["http_options"])
    serve.context._get_global_client().deploy_apps(ServeDeploySchema(**config))  # what the REST API does with a PUT
    with httpx.Client(base_url=f"http://127.0.0.1:{config['http_options']['port']}", timeout=60) as client:
        until(lambda: {one.status for one in serve.status().applications.values()} == {"RUNNING"}, 90)
        until(lambda: total(client) == 2, 90)
        yield client
    from serve.deploy import undeploy

    assert undeploy("politicians") == ["ada", "ben", "dora"]
    declared = {"gateway", "pool-politicians"}
    until(lambda: set(serve.status().applications) == declared, 90)  # whoever declared them ends them
    serve.shutdown()


def total(client) -> int:
    try:
        return client.get("/bots").json()["total"]
    except (httpx.HTTPError, ValueError, KeyError):
        return 0


def test_what_is_in_the_storage_answers(client):
    said = {bot: client.post(f"/bots/{bot}", json=ASK) for bot in ("ada", "ben")}
    assert {answer.status_code for answer in said.values()} == {200}
    assert said["ada"].json() != said["ben"].json()
    assert client.get("/bots/ada").json()["endpoint"] == "pooled"


def test_bots_that_deploy_adds_leave_what_is_declared_alone(client, base, tmp_path, config):
    from serve.deploy import deploy, undeploy

    publish(tmp_path / "fleets" / "beside", base, "cleo")
    keys = {"port": config["http_options"]["port"], "deadline_seconds": 90}
    (tmp_path / "fleet.yaml").write_text(json.dumps({"fleet": "beside", "tweets": ["none.csv"], "serve": keys}))
    fleet = fleets.load(tmp_path / "fleet.yaml")
    before = serve.status().applications["gateway"].last_deployed_time_s
    assert deploy(fleet, Store.of(fleet), {"cleo": VERSION})["deployed"] == ["cleo"]
    assert serve.status().applications["gateway"].last_deployed_time_s == before
    assert client.post("/bots/cleo", json=ASK).status_code == 200 and total(client) == 3
    assert undeploy("beside") == ["cleo"]
    assert client.post("/bots/ada", json=ASK).status_code == 200


def test_a_bot_with_a_changed_file_is_refused_and_answers_again_once_it_is_repaired(
    client, store, base, tmp_path, config
):
    from serve.deploy import deploy

    upload(store, tmp_path, base, "dora")
    weights = store.read(f"bots/dora/{VERSION}/model.safetensors")
    store.write(f"bots/dora/{VERSION}/model.safetensors", weights[:-1] + bytes([weights[-1] ^ 1]))
    args = config["applications"][1]["args"]
    fleet = fleets.Fleet(**args | {"serve": args["serve"] | {"port": config["http_options"]["port"]}})
    assert deploy(fleet, store, {"dora": VERSION}, whole=False)["deployed"] == ["dora"]
    answer = client.post("/bots/dora", json=ASK)
    assert answer.status_code == 503 and "not what was published" in answer.json()["error"]["message"]
    assert int(answer.headers["retry-after"]) > 0
    store.write(f"bots/dora/{VERSION}/model.safetensors", weights)
    until(lambda: client.post("/bots/dora", json=ASK).status_code == 200, 30)
