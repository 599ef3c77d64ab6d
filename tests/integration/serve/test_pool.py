"""A pooled fleet: one pool answers for all of its bots, new ones too; busy bots of an auto fleet move out of it."""

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.serve_fleet import VERSION, publish
from tests.support.toys import until

BOTS = tuple(f"bot_{i:02d}" for i in range(12))
SHORT = {"max_new_tokens": 4, "min_new_tokens": 4, "seed": 1}


@pytest.fixture(scope="module")
def served(make_served):
    # less memory than two bots need: every other request has to load
    return make_served("pooled", BOTS, endpoint="pooled", max_replicas=1, pool_memory_gb=1e-5)


def ask(client, bot, **parameters):
    return client.post(f"/bots/{bot}", json={"inputs": "Engine", "parameters": SHORT | parameters})


def applications():
    from ray import serve

    return set(serve.status().applications)


def test_one_pool_answers_for_every_bot_and_each_says_its_own(served):
    client = served[0]
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda bot: ask(client, bot), BOTS))
    assert [answer.status_code for answer in answers] == [200] * len(BOTS)
    texts = [answer.json()[0]["generated_text"] for answer in answers]
    assert len(set(texts)) > len(BOTS) // 2
    assert [ask(client, bot).json()[0]["generated_text"] for bot in BOTS] == texts  # loaded again, said again
    assert applications() == {"gateway", "pool-pooled"}


def test_what_is_published_later_is_served_without_deploying(served, base):
    client, _, storage, _ = served
    assert client.get("/bots/newcomer").status_code == 404
    publish(storage, base, "newcomer")
    until(lambda: client.get("/bots/newcomer").status_code == 200, 60)
    assert ask(client, "newcomer").status_code == 200
    before = ask(client, "newcomer").json()
    publish(storage, base, "newcomer", "000000000002", seed=2)
    until(lambda: client.get("/bots/newcomer").json()["version"] == "000000000002", 60)
    assert ask(client, "newcomer", max_new_tokens=30).json() != before


def test_a_bot_whose_files_are_broken_says_so_and_the_others_answer(served, base):
    client, _, storage, _ = served
    publish(storage, base, "broken")
    (storage / "bots" / "broken" / VERSION / "model.safetensors").write_bytes(b"no weights")
    until(lambda: client.get("/bots/broken").status_code == 200, 60)
    answer = ask(client, "broken")
    assert answer.status_code == 503 and "broken" in answer.json()["error"]["message"]
    assert int(answer.headers["retry-after"]) > 0
    assert ask(client, BOTS[0]).status_code == 200


def test_loads_and_evictions_are_counted(served):
    client = served[0]

    def counted(name):
        lines = client.get("/metrics").text.splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith(name) and not line.startswith("#"))

    until(lambda: counted("huggingtweets_pool_loads_total") >= 12, 10)
    assert counted("huggingtweets_pool_evictions_total") >= 10
    assert counted('huggingtweets_requests_total{bot="bot_00",status="200"}') >= 2
    assert counted("huggingtweets_generated_tokens_total") >= 4 * len(BOTS)
    assert counted("huggingtweets_bots ") == len(client.get("/bots").json()["bots"])


def test_a_busy_bot_of_an_auto_fleet_gets_replicas_of_its_own_and_nobody_notices(make_served):
    settings = {"busy_requests": 0.5, "busy_seconds": 2, "idle_seconds": 4, "max_replicas": 1, "endpoint": "auto"}
    client, *_ = make_served("auto", ("ada", "ben"), **settings)
    stop, failed, asked = threading.Event(), [], [0]

    def talk():
        while not stop.is_set():
            answer = ask(client, "ada", max_new_tokens=100, min_new_tokens=100)
            asked[0] += 1
            if answer.status_code != 200:
                failed.append(answer.text)

    threads = [threading.Thread(target=talk) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        dedicated = "huggingtweets_bots_dedicated 1.0"
        until(lambda: dedicated in client.get("/metrics").text, 120)
        assert "bot-ada" in applications()
        time.sleep(3)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not failed and asked[0] > 10
    until(lambda: "bot-ada" not in applications(), 60)  # quiet again: back to the pool
    assert ask(client, "ada").status_code == 200


def test_undeploying_leaves_nothing_behind(make_served, base):
    from serve.deploy import undeploy

    client, _, storage, _ = make_served("going", ("gone_a", "gone_b"), endpoint="pooled", max_replicas=1)
    assert undeploy("going", ["gone_a"]) == ["gone_a"]
    assert client.get("/bots/gone_a").status_code == 404 and ask(client, "gone_b").status_code == 200
    publish(storage, base, "gone_c")
    assert undeploy("going") == ["gone_b"]
    assert client.get("/bots/gone_b").status_code == 404
    until(lambda: "pool-going" not in applications(), 60)


def test_a_fleet_can_change_how_it_is_served(make_served):
    from pipeline.core import fleet as fleets
    from pipeline.core.store import Store
    from pipeline.operate.generate import LocalBot
    from serve.deploy import deploy

    client, fleet, storage, versions = make_served(
        "change", ("dora",), endpoint="pooled", max_replicas=1, watermark=True
    )
    pooled = ask(client, "dora", max_new_tokens=20).json()
    marked, unmarked = (
        LocalBot.load(one, "dora").generate("Engine", **SHORT | {"max_new_tokens": 20})
        for one in (fleet, fleets.load(storage.parent.parent / "fleet.yaml", ["serve.watermark=false"]))
    )
    assert [one["generated_text"] for one in pooled] == marked != unmarked
    changed = fleets.load(storage.parent.parent / "fleet.yaml", ["serve.endpoint=dedicated"])
    assert deploy(changed, Store.of(fleet), versions)["deployed"] == ["dora"]
    assert client.get("/bots/dora").json()["endpoint"] == "dedicated"
    assert ask(client, "dora", max_new_tokens=20).json() == pooled
    until(lambda: "pool-change" not in applications(), 60)
    assert "bot-dora" in applications() and json.loads((storage.parent.parent / "fleet.yaml").read_text())
