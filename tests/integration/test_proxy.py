"""Behind an HTTP proxy, as at universities and companies: a fleet is deployed and answers all the same."""

from pathlib import Path

import httpx

from pipeline.core import fleet as fleets
from pipeline.core import ray_session
from pipeline.core.store import Store
from serve.deploy import undeploy
from tests.support.serve_fleet import publish
from tests.support.toys import free_port

NOWHERE = "http://127.0.0.1:9"


def test_a_fleet_is_deployed_and_answers_behind_a_proxy(base, cluster, make_fleet, huggingtweets, monkeypatch):
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, NOWHERE)
        monkeypatch.setitem(ray_session._ENVIRONMENT, name, NOWHERE)  # Serve's processes have it, too
    path = make_fleet(("ada",), serve={"port": (port := free_port())})
    assert huggingtweets("prepare", path)[0] == 0
    publish(Path(Store.of(fleets.load(path)).root), base, "ada")
    try:
        code, _, err = huggingtweets("deploy", path)
        assert code == 0, err
        body = {"inputs": "Engine", "parameters": {"max_new_tokens": 5}}
        answer = httpx.post(f"http://127.0.0.1:{port}/bots/ada", json=body, timeout=60, trust_env=False)
        assert answer.json()[0]["generated_text"].startswith("Engine")
        code, out, _ = huggingtweets("status", path)
        assert f"http://127.0.0.1:{port}/bots/ada" in out
    finally:
        undeploy("toys")  # the command would stop the tests' cluster with it
