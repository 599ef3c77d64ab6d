"""Keys, limits, logs and lost replicas over real HTTP: what protects a gateway that strangers can reach."""

import json
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.core.store import Store
from serve.deploy import deploy
from serve.engine.parameters import Parameters
from serve.http import keys
from tests.support.access_log import lines_of
from tests.support.serve_fleet import publish
from tests.support.toys import ray_processes, until

KEY, SLOW_KEY = "the-key-of-these-tests", "another-key-of-these-tests"
OTHER_KEY = "the-key-of-somebody-else"
ORIGIN = "https://example.org"
SHORT = {"max_new_tokens": 4, "seed": 1}


@pytest.fixture(scope="module")
def served(make_served, tmp_path_factory):
    """A pooled fleet that asks for one of two keys; its client has the first."""
    path = tmp_path_factory.mktemp("keys") / "keys.txt"
    path.write_text(f"{KEY}\n{OTHER_KEY}\n")
    client, *rest = make_served(
        "safe", ("ada", "ben"), endpoint="pooled", max_replicas=1, keys_file=str(path), cors_origins=[ORIGIN]
    )
    client.headers["Authorization"] = f"Bearer {KEY}"
    return client, *rest


@pytest.fixture(scope="module")
def stranger(served):
    with httpx.Client(base_url=served[0].base_url, timeout=60) as client:
        yield client


ROUTES = ["/", "/static/page.css", "/bots", "/bots/ada", "/bots/ada/card.png", "/bots/nobody", "/v1/models"]
ROUTES += [
    "/verify?bot=ada&said=tea&signature=x",
    "/v1/models/ada",
    "/metrics",
    "/openapi.json",
    "/b/ada",
    "/bots/ada/pictures/ada.png",
    "/nothing",
]


@pytest.mark.parametrize("path", ROUTES)
def test_every_route_asks_for_a_key(stranger, path):
    answer = stranger.get(path)
    assert answer.status_code == 401 and answer.json()["error"]["type"] == "unauthorized"
    assert answer.headers["www-authenticate"] == "Bearer" and answer.headers["x-request-id"]
    assert stranger.get(path, headers={"Authorization": "Bearer wrong"}).status_code == 401
    assert stranger.get(path, headers={"Authorization": f"Bearer {keys.digest(KEY)}"}).status_code == 401


def test_only_health_and_the_public_keys_are_open_and_posts_are_not(stranger, served):
    assert stranger.get("/health").json() == {"status": "ok"}
    [key] = stranger.get("/.well-known/huggingtweets-keys.json").json()["keys"]
    assert key["crv"] == "Ed25519" and "d" not in key
    for path, body in (("/bots/ada", {"inputs": "Engine"}), ("/v1/completions", {"model": "ada", "prompt": "Engine"})):
        assert stranger.post(path, json=body).status_code == 401
        assert served[0].post(path, json=body | ({"parameters": SHORT} if "inputs" in body else {})).status_code == 200


@pytest.mark.parametrize("authorization", ["", f"Authorization: Bearer {KEY}\r\n"], ids=["stranger", "with a key"])
def test_bodies_that_never_arrive_block_no_other_request(served, authorization):
    client = served[0]
    address = urlsplit(str(client.base_url))
    head = f"POST /bots/ada HTTP/1.1\r\nHost: {address.netloc}\r\nContent-Length: 1000\r\n{authorization}\r\n{{"
    slow = [socket.create_connection((address.hostname, address.port)) for _ in range(700)]
    for connection in slow:
        connection.sendall(head.encode())
    try:
        for _ in range(3):
            start = time.monotonic()
            assert client.get("/health").status_code == 200
            assert client.post("/bots/ada", json={"inputs": "Engine", "parameters": SHORT}).status_code == 200
            assert time.monotonic() - start < 30  # on any machine; while bodies had no time limit it was for ever
        slow[0].settimeout(60)
        assert int(slow[0].recv(100).split()[1]) == (408 if authorization else 401)
    finally:
        for connection in slow:
            connection.close()


def test_a_browser_is_shown_a_place_to_enter_its_key_and_keeps_it(stranger, served):
    form = stranger.get("/", headers={"Accept": "text/html"})
    assert form.status_code == 401 and "<form" in form.text
    with httpx.Client(base_url=served[0].base_url, timeout=60) as browser:
        assert browser.post("/key", data={"key": KEY, "back": "/"}).status_code == 303
        assert browser.get("/bots").status_code == 200


@pytest.fixture(scope="module")
def slow(make_served):
    """A fleet whose one key, from the environment, allows few requests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(keys.ENVIRONMENT, SLOW_KEY)
        return make_served("slow", ("slowbot",), endpoint="pooled", max_replicas=1, requests_per_minute=3)


def test_a_key_used_too_often_waits_and_other_keys_do_not(served, slow):
    client = served[0]
    headers = {"Authorization": f"Bearer {SLOW_KEY}"}
    answers = [client.get("/bots", headers=headers) for _ in range(8)]
    limited = [answer for answer in answers if answer.status_code == 429]
    assert limited and answers[0].status_code == 200
    assert 1 <= int(limited[0].headers["retry-after"]) <= 60
    assert client.get("/bots").status_code == 200


def test_a_fleet_that_is_deployed_again_without_its_keys_is_reported_and_others_keep_theirs(slow, stranger):
    _, fleet, _, versions = slow
    assert deploy(fleet, Store.of(fleet), versions)["opened"]
    assert stranger.get("/bots/slowbot", headers={"Authorization": f"Bearer {SLOW_KEY}"}).status_code == 401
    assert stranger.get("/bots/slowbot").status_code == 401  # another fleet of this gateway has keys
    assert not deploy(fleet, Store.of(fleet), versions)["opened"]


def test_other_sites_may_ask_only_where_they_are_listed(served):
    client = served[0]
    asks = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    listed = client.options("/bots/ada", headers={"Origin": ORIGIN} | asks)
    assert listed.status_code == 200 and listed.headers["access-control-allow-origin"] == ORIGIN
    assert client.get("/bots", headers={"Origin": ORIGIN}).headers["access-control-allow-origin"] == ORIGIN
    for origin in ("https://evil.example", "null"):
        assert client.options("/bots/ada", headers={"Origin": origin} | asks).status_code == 400
        assert "access-control-allow-origin" not in client.get("/bots", headers={"Origin": origin}).headers


def test_a_reply_carries_the_requests_id_and_the_log_a_line_with_it(served):
    client = served[0]
    assert client.get("/bots", headers={"X-Request-Id": "mine-1"}).headers["x-request-id"] == "mine-1"
    for bad in ("a b", "x" * 65, 'a"b', "é".encode()):
        given = client.get("/bots", headers={"X-Request-Id": bad}).headers.get_list("x-request-id")[0]
        assert given.isalnum() and len(given) == 32
    path = '/bots/%0a{"request_id":"forged"}'
    answer = client.post(path, headers={"X-Request-Id": "mine-2"}, json={"inputs": "Engine"})
    assert answer.status_code == 404
    line = logged("mine-2")
    assert line["status"] == 404 and line["method"] == "POST" and line["seconds"] >= 0
    assert line["key"] == keys.digest(KEY)[:8] and line["path"].startswith('/bots/\n{"request_id"')
    assert KEY not in json.dumps(line)


def logged(request_id: str) -> dict:
    """The access log's line of a request."""
    end = time.monotonic() + 10
    while time.monotonic() < end:
        for _, line in lines_of(request_id):
            return line
        time.sleep(0.3)
    raise AssertionError("no line in the access log")


def test_a_client_that_hangs_up_stops_the_generation(served):
    client = served[0]
    body = {"model": "ada", "prompt": ["Engine"] * 16, "max_tokens": 100, "min_tokens": 100, "stream": True}
    with client.stream("POST", "/v1/completions", json=body, headers={"X-Request-Id": "gone-1"}) as reply:
        next(reply.iter_lines())
    line = logged("gone-1")
    assert line["status"] == 200
    entry = client.get("/bots/ada").json()
    assert (line["fleet"], line["bot"], line["version"]) == (entry["fleet"], "ada", entry["version"])
    end = time.monotonic() + 20
    while 'huggingtweets_requests_total{bot="ada",status="499"} 1.0' not in client.get("/metrics").text:
        assert time.monotonic() < end
        time.sleep(0.3)
    assert 'huggingtweets_requests_ongoing{bot="ada"} 0.0' in client.get("/metrics").text


def test_a_request_past_its_deadline_gets_an_error(make_served, served):
    client, *_ = make_served("late", ("cleo",), endpoint="pooled", max_replicas=1, deadline_seconds=0.02)
    body = {"inputs": "River", "parameters": {"n": 16, "max_new_tokens": 100, "min_new_tokens": 100}}
    answer = client.post("/bots/cleo", json=body, headers={"Authorization": f"Bearer {KEY}"})
    assert answer.status_code == 504 and answer.json()["error"]["type"] == "deadline_exceeded"


def test_a_client_with_sixty_requests_for_sixteen_texts_keeps_nobody_waiting_for_all_of_them(served, stranger):
    client = served[0]
    ask = {"inputs": "Engine", "parameters": {"n": 16, "max_new_tokens": 40, "min_new_tokens": 40}}
    with ThreadPoolExecutor(60) as pool:
        crowd = [pool.submit(client.post, "/bots/ada", json=ask) for _ in range(60)]
        until(lambda: any(one.done() for one in crowd), 60)
        headers = {"Authorization": f"Bearer {OTHER_KEY}"}
        answer = stranger.post("/bots/ada", json={"inputs": "Engine", "parameters": SHORT}, headers=headers)
        waiting = sum(not one.done() for one in crowd)
    assert answer.status_code == 200 and waiting > 40
    assert {one.result().status_code for one in crowd} == {200}


def test_long_numbers_and_head_requests_are_answered(served):
    client = served[0]
    for limit in ("0" * 4_400 + "5", "9" * 4_400, "-1", "1e3", "٣"):
        assert client.get("/bots", params={"limit": limit}).status_code == 422
    for number in ("9" * 4_400, "1" + "0" * 400, "1e4400", "-" + "0" * 4_400):
        for name in ("max_new_tokens", "temperature", "seed", "n", "unknown"):
            content = f'{{"inputs": "Engine", "parameters": {{"{name}": {number}}}}}'
            answer = client.post("/bots/ada", content=content)
            assert answer.status_code in (400, 422), (name, number[:5], answer.text)
            assert set(answer.json()["error"]) == {"message", "type", "code"}
    for path, code in (("/", 200), ("/health", 200), ("/bots", 405), ("/nothing", 404)):
        assert client.head(path).status_code == code, path


def test_what_stands_in_a_published_folder_is_shown_only_where_it_is_harmless(served, base, tmp_path):
    client, _, storage, _ = served
    secret = tmp_path / "secret.png"
    secret.write_text("a file of the machine")
    folder = storage / "elsewhere" / "bots" / "ben" / publish(storage / "elsewhere", base, "ben", "000000000002")
    (folder / "profiles.json").write_text(json.dumps({"names": {"ben": "\u202eneB" * 200}, "pictures": ["ben"]}))
    (folder / "profile-ben.png").symlink_to(secret)
    (folder / "metrics.json").write_text(json.dumps({"copying": {"longest_text": "somebody's tweet", "longest": 8}}))
    folder.rename(storage / "bots" / "ben" / folder.name)
    (storage / "bots" / "ben" / "current").unlink()
    (storage / "bots" / "ben" / "current").write_text(folder.name)
    until(lambda: client.get("/bots/ben").json()["version"] == folder.name, 60)
    entry = client.get("/bots/ben").json()
    assert entry["names"]["ben"].startswith("neBneB") and len(entry["names"]["ben"]) == 60
    assert entry["metrics"] == {"copying": {"longest": 8}}
    assert client.get("/bots/ben/pictures/ben.png").status_code == 404
    (storage / "bots" / "ben" / folder.name / "model.safetensors").write_bytes(b"no weights")
    answer = client.post("/bots/ben", json={"inputs": "Engine", "parameters": SHORT})
    assert (
        answer.status_code == 503 and str(storage) not in answer.text and "/" not in answer.json()["error"]["message"]
    )


def test_a_replica_that_is_killed_under_load_costs_no_request(served):
    client = served[0]
    ask = {"inputs": "Engine", "parameters": {"max_new_tokens": 60, "min_new_tokens": 60, "seed": 5}}
    expected = client.post("/bots/ada", json=ask).json()

    def talk(number: int) -> httpx.Response:
        if number == 10:
            workers = ray_processes("ServeReplica:pool-safe")
            assert workers
            for worker in workers:
                worker.send_signal(signal.SIGKILL)
        return client.post("/bots/ada", json=ask)

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(talk, range(40)))
    assert {answer.status_code for answer in answers} == {200}
    assert all(answer.json() == expected for answer in answers)


ALLOWED = {200, 400, 404, 405, 408, 413, 415, 422, 303, 403, 431}


def test_nothing_that_fits_the_schema_or_nearly_does_breaks_it(served):
    """Property-based: requests made from the gateway's own OpenAPI document, valid and not."""
    client = served[0]
    document = client.get("/openapi.json").json()
    operations = schemathesis.openapi.from_dict(document).get_all_operations()
    seen = 0
    for operation in operations:
        case = operation.ok().as_strategy()

        @settings(max_examples=12, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(case=case)
        def check(case):
            answer = case.call(base_url=str(client.base_url), headers=dict(client.headers))
            assert answer.status_code in ALLOWED, answer.text
            if answer.status_code >= 400:
                assert set(answer.json()["error"]) == {"message", "type", "code"}

        check()
        seen += 1
    assert seen >= 8


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=8,
)


@settings(max_examples=60, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(body=JSON, name=st.sampled_from(sorted(Parameters.model_fields)), value=JSON)
def test_no_json_whatsoever_breaks_it(served, body, name, value):
    client = served[0]
    odd = {"inputs": "Engine", "parameters": {"max_new_tokens": 2, name: value}}
    for sent in (body, odd):
        answer = client.post("/bots/ada", content=json.dumps(sent))
        assert answer.status_code in (200, 422), answer.text
