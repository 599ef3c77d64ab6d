"""Several gateways and pool workers act as one service, also when they are full and while the registry is lost."""

import asyncio
import signal
import time
from ipaddress import ip_address

import httpx
import pytest

from serve.deployments import gateway
from serve.deployments.endpoint import pinned_options
from serve.http import keys
from tests.support.access_log import lines_of
from tests.support.serve_fleet import publish
from tests.support.toys import listening, ray_processes, until

KEY, SLOW_KEY = "the-key-of-these-tests", "another-key-of-these-tests"
NO_LIMITS = httpx.Limits(max_connections=None)
ASK = {"inputs": "Engine", "parameters": {"max_new_tokens": 60, "min_new_tokens": 60, "seed": 5}}


@pytest.fixture(scope="module")
def served(make_served, tmp_path_factory):
    path = tmp_path_factory.mktemp("keys") / "keys.txt"
    path.write_text(KEY + "\n")
    client, *rest = make_served(
        "several",
        ("ada", "ben"),
        endpoint="pooled",
        min_replicas=2,
        max_replicas=2,
        max_queued_requests=1,
        keys_file=str(path),
    )
    client.headers["Authorization"] = f"Bearer {KEY}"
    return client, *rest


@pytest.fixture(scope="module")
def two_gateways(served):
    """The gateway, scaled as Serve would scale it under load."""
    from ray import serve
    from ray.serve.api import RunTarget

    def scale(count: int) -> None:
        scaling = gateway._REPLICAS | {"min_replicas": count, "max_replicas": count}
        registry = gateway.Registry.options(**pinned_options()).bind()
        application = gateway.Gateway.options(**pinned_options(), autoscaling_config=scaling).bind(registry)
        serve.run_many([RunTarget(application, gateway.APP, "/")])

    scale(2)
    until(lambda: counted(served[0], "huggingtweets_gateways") == 2, 60)
    yield
    scale(1)


def counted(client: httpx.Client, name: str) -> float:
    lines = client.get("/metrics").text.splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith(f"{name} "))


def test_two_gateways_say_the_same_and_each_asks_for_a_key(served, two_gateways):
    client = served[0]
    expected = client.post("/bots/ada", json=ASK).json()
    for number in range(24):
        answer = client.post("/bots/ada", json=ASK, headers={"X-Request-Id": f"either-{number}"})
        assert answer.status_code == 200 and answer.json() == expected
        said = answer.json()[0]["generated_text"].removeprefix("Engine")
        query = {"bot": "ada", "said": said, "signature": answer.headers["x-signature"]}
        assert client.get("/verify", params=query).json()["valid"]  # by the key of the one or of the other
        assert client.get("/bots").json()["total"] == 2
        assert httpx.get(f"{client.base_url}/bots/ada").status_code == 401
    until(lambda: len(lines_of("either-")) == 24, 10)
    assert len({path for path, _ in lines_of("either-")}) == 2  # both have answered some


def test_what_a_killed_gateway_had_in_flight_ends_as_errors_in_json(served, two_gateways):
    answers = asyncio.run(crowd_on_a_killed_gateway(served[0]))
    lost = [answer for answer in answers if answer.status_code != 200]
    assert lost and len(lost) < len(answers)
    for answer in lost:
        assert answer.status_code == 503 and answer.json()["error"]["type"] == "gateway_lost"
        assert answer.headers["retry-after"] and answer.headers["x-request-id"]
    assert served[0].post("/bots/ada", json=ASK).status_code == 200  # by the other one
    until(lambda: len(ray_processes("ServeReplica:gateway:Gateway")) == 2, 60)


async def crowd_on_a_killed_gateway(client) -> list[httpx.Response]:
    """The answers to requests during which one of two gateways is killed."""
    body = {"inputs": "Engine", "parameters": ASK["parameters"] | {"max_new_tokens": 110, "n": 16}}
    async with httpx.AsyncClient(
        base_url=client.base_url, headers=client.headers, limits=NO_LIMITS, timeout=90
    ) as many:
        asking = [asyncio.create_task(many.post("/bots/ada", json=body)) for _ in range(12)]
        while counted(client, 'huggingtweets_requests_ongoing{bot="ada"}') < 10:
            await asyncio.sleep(0.1)
        ray_processes("ServeReplica:gateway:Gateway")[0].kill()
        return await asyncio.gather(*asking)


def test_no_process_of_the_local_cluster_listens_to_other_machines(served):
    found = listening()
    assert len(found) > 5 and any("ServeReplica" in command for _, command in found)
    assert not [one for one in found if not ip_address(one[0].removeprefix("::ffff:")).is_loopback]


def test_two_gateways_share_a_keys_rate(served, two_gateways, make_served, monkeypatch):
    monkeypatch.setenv(keys.ENVIRONMENT, SLOW_KEY)
    make_served("slow", ("slowbot",), requests_per_minute=8)
    headers = {"Authorization": f"Bearer {SLOW_KEY}"}
    began = time.monotonic()
    answers = [served[0].get("/bots/slowbot", headers=headers).status_code for _ in range(40)]
    refilled = 8 * (time.monotonic() - began) / 60
    assert set(answers) == {200, 429} and answers.count(200) <= 8 + refilled + 1


def test_a_hot_bot_is_answered_by_several_workers_and_where_they_are_full_asked_to_come_back(served):
    client = served[0]
    expected = client.post("/bots/ben", json=ASK).json()
    loads = counted(client, "huggingtweets_pool_loads_total")
    last = asyncio.run(crowd_until_one_is_refused(client, ASK["parameters"] | {"max_new_tokens": 110, "n": 16}))
    assert last.status_code == 503 and last.json()["error"]["type"] == "overloaded"
    assert int(last.headers["retry-after"]) > 0
    until(lambda: client.post("/bots/ben", json=ASK).status_code == 200, 30)  # those who left make room
    assert client.post("/bots/ben", json=ASK).json() == expected
    until(lambda: counted(client, "huggingtweets_pool_loads_total") > loads, 10)  # into a second worker's memory


async def crowd_until_one_is_refused(client, parameters) -> httpx.Response:
    """More requests for one bot at once than its workers and its queue take; who is not refused hangs up."""
    async with httpx.AsyncClient(
        base_url=client.base_url, headers=client.headers, limits=NO_LIMITS, timeout=90
    ) as many:
        body = {"inputs": "Engine", "parameters": parameters}
        asking = [asyncio.create_task(many.post("/bots/ben", json=body)) for _ in range(250)]
        for answer in asyncio.as_completed(asking):
            last = await answer
            if last.status_code != 200:
                break
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)
        return last


def listed(client: httpx.Client) -> list[dict]:
    """The bots that are served; `since` is the time at which a registry took them into its table."""
    return [bot | {"since": 0} for bot in client.get("/bots").json()["bots"]]


def test_a_lost_registry_is_restored_with_its_state_and_delays_no_request(served, base):
    client, _, storage, _ = served
    before = listed(client)
    expected = client.post("/bots/ada", json=ASK).json()
    public_keys = client.get("/.well-known/huggingtweets-keys.json").json()
    registries = ray_processes("ServeReplica:gateway:Registry")
    assert len(registries) == 1
    registries[0].send_signal(signal.SIGKILL)
    for _ in range(20):
        answer = client.post("/bots/ada", json=ASK)
        assert answer.status_code == 200 and answer.json() == expected
        assert listed(client) == before
    publish(storage, base, "newcomer")
    until(lambda: client.get("/bots/newcomer").status_code == 200, 90)  # it watches the store again
    assert client.post("/bots/newcomer", json=ASK).status_code == 200
    assert [bot["name"] for bot in client.get("/bots").json()["bots"]] == ["ada", "ben", "newcomer", "slowbot"]
    assert httpx.get(f"{client.base_url}/bots").status_code == 401
    assert client.get("/.well-known/huggingtweets-keys.json").json() == public_keys
