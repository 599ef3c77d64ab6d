"""What the guard stops, attacked as a stranger or a foreign web page would, and what it lets pass."""

import gzip
import json
import socket
import time
from urllib.parse import urlsplit

import httpx
import pytest
from fastapi.testclient import TestClient

from serve.http import body, guard, keys
from serve.http.body import MAX_BODY_BYTES
from serve.http.guard import MAX_HEADER_BYTES, Guard
from serve.http.routes import build
from tests.support.fake_bots import FakeBots, routes, serving

KEY = "a-key-of-sixteen="
ASK = {"inputs": "My dream is"}
ORIGIN = "https://example.org"


@pytest.fixture
def bots():
    return FakeBots(["billnye-nasa", "ferry", "nasa"])


@pytest.fixture
def client(bots):
    with TestClient(routes(bots), base_url="http://localhost:8000") as client:
        yield client


def slow_request(address: str, path: str, header: str = "") -> socket.socket:
    """A connection with a request of which one byte of the body is there."""
    parts = urlsplit(address)
    connection = socket.create_connection((parts.hostname, parts.port))
    head = f"POST {path} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Length: 1000\r\n{header}\r\n"
    connection.sendall(head.encode() + b"{")
    return connection


def status(connection: socket.socket) -> int:
    connection.settimeout(5)
    return int(connection.recv(100).split()[1])


def test_bodies_that_do_not_arrive_take_no_place_and_are_given_up(bots, monkeypatch):
    monkeypatch.setattr(guard, "MAX_ONGOING", 20)
    monkeypatch.setattr(body, "READ_SECONDS", 2.0)
    with serving(routes(bots)) as address:
        slow = [slow_request(address, "/bots/nasa") for _ in range(60)]
        start = time.monotonic()
        assert httpx.get(f"{address}/health").status_code == 200
        assert httpx.post(f"{address}/bots/nasa", json=ASK).status_code == 200
        assert time.monotonic() - start < 1.5
        assert {status(connection) for connection in slow} == {408}
        assert all(connection.recv(4096) is not None for connection in slow)
        for connection in slow:
            connection.close()


def test_a_body_without_a_key_is_not_waited_for(bots):
    with serving(routes(bots, KEY)) as address:
        connection = slow_request(address, "/bots/nasa")
        assert status(connection) == 401
        connection.close()


def test_a_busy_gateway_refuses_requests_but_says_that_it_is_healthy(client, monkeypatch):
    monkeypatch.setattr(guard, "MAX_ONGOING", 0)
    assert client.post("/bots/nasa", json=ASK).status_code == 503
    assert client.get("/health").status_code == client.head("/health").status_code == 200


def test_large_headers_are_refused(client):
    answer = client.get("/bots", headers={"X-Long": "x" * MAX_HEADER_BYTES})
    assert (answer.status_code, answer.json()["error"]["type"]) == (431, "headers_too_large")


def test_a_compressed_body_is_refused_and_a_plain_one_that_says_so_is_read(client):
    packed = gzip.compress(json.dumps(ASK).encode())
    answer = client.post("/bots/nasa", content=packed, headers={"Content-Encoding": "gzip"})
    assert answer.status_code == 415 and "Content-Encoding" in answer.json()["error"]["message"]
    assert client.post("/bots/nasa", json=ASK, headers={"Content-Encoding": "identity"}).status_code == 200
    assert client.post("/bots/nasa", content=b"x" * (MAX_BODY_BYTES + 1)).status_code == 413


FOREIGN = [
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Origin": "http://localhost:9000"},
    {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Origin": "http://localhost:9000", "Sec-Fetch-Site": "same-site"},
]


@pytest.mark.parametrize("headers", FOREIGN)
def test_a_page_of_another_site_makes_no_bot_speak(client, bots, headers):
    """A form or fetch with a text body needs no preflight, so the browser sends it."""
    answer = client.post("/bots/nasa", content=json.dumps(ASK), headers={"Content-Type": "text/plain"} | headers)
    assert (answer.status_code, answer.json()["error"]["type"]) == (403, "forbidden_origin")
    assert bots.asked == []


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "http://localhost:8000"},
        {"Origin": "https://bots.example", "Sec-Fetch-Site": "same-origin"},  # behind a proxy with a host of its own
        {"Origin": ORIGIN, "Sec-Fetch-Site": "cross-site"},
    ],
)
def test_programs_the_page_and_listed_sites_may_ask(bots, headers):
    app = routes(bots)
    app.configure({}, [ORIGIN], 1)
    with TestClient(app, base_url="http://localhost:8000") as client:
        assert client.post("/bots/nasa", json=ASK, headers=headers).status_code == 200


def test_a_site_whose_name_resolves_to_this_machine_reads_nothing(bots):
    app = routes(bots)
    with serving(app) as address:
        port = urlsplit(address).port
        for host in (f"evil.example:{port}", "evil.example", "127.0.0.1.evil.example", "localhost.evil.example"):
            answer = httpx.get(f"{address}/bots", headers={"Host": host})
            assert (answer.status_code, answer.json()["error"]["type"]) == (403, "forbidden_host")
        assert httpx.get(f"{address}/bots", headers={"Host": "[::"}).status_code == 400
        for host in (f"localhost:{port}", "127.0.0.1", "[::1]:80", "bots.localhost"):
            assert httpx.get(f"{address}/bots", headers={"Host": host}).status_code == 200
        app.configure({}, [ORIGIN], 1)
        assert httpx.get(f"{address}/bots", headers={"Host": "example.org"}).status_code == 200
        app.configure({keys.digest(KEY): None}, [], 1)
        bearer = {"Authorization": f"Bearer {KEY}"}
        assert httpx.get(f"{address}/bots", headers={"Host": "evil.example"} | bearer).status_code == 200


def test_a_listed_sites_preflight_is_granted_with_the_headers_that_openais_client_adds(bots):
    app = routes(bots)
    app.configure({keys.digest(KEY): None}, [ORIGIN], 1)
    wanted = "authorization,content-type,x-stainless-os,x-stainless-retry-count"
    preflight = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": wanted}
    with TestClient(app) as client:
        granted = client.options("/v1/completions", headers={"Origin": ORIGIN} | preflight)
        assert granted.status_code == 200 and granted.headers["access-control-allow-headers"] == wanted
        other = client.options("/v1/completions", headers={"Origin": "https://evil.example"} | preflight)
        assert other.status_code == 400


def test_static_files_and_metrics_do_not_use_up_a_keys_rate(bots):
    app = Guard(build(bots))
    app.configure({keys.digest(KEY): 5}, [], 1)
    with TestClient(app, headers={"Authorization": f"Bearer {KEY}"}) as client:
        assert {client.get("/static/main.js").status_code for _ in range(20)} == {200}
        assert {client.get("/metrics").status_code for _ in range(20)} == {200}
        assert [client.get("/bots").status_code for _ in range(6)] == [200] * 5 + [429]


@pytest.mark.parametrize("path", ["/v1//models", "/v1///models", "/v1/models//nasa", "/bots//nasa"])
def test_doubled_slashes_are_one(client, path):
    assert client.get(path).status_code == 200


def test_head_is_answered_where_monitors_ask(client):
    for path in ("/", "/health"):
        answer = client.head(path)
        assert (answer.status_code, answer.content) == (200, b"")


@pytest.mark.parametrize("limit", ["0" * 4_400, "0" * 8 + "1" + "0" * 30, "9" * 4_400, "", "-1", "1.0", "１", "1001"])
def test_a_page_size_is_a_number_in_bounds(client, limit):
    answer = client.get("/bots", params={"limit": limit})
    assert (answer.status_code, answer.json()["error"]["type"]) == (422, "validation_error")


def test_errors_in_the_hugging_face_form_have_the_type_that_its_clients_read(client):
    answer = client.post("/bots/nasa", json={"inputs": 3}).json()
    assert set(answer["error"]) == {"message", "type", "code"} and answer["error_type"] == "validation"
    assert set(client.post("/v1/completions", json={}).json()) == {"error"}
    assert set(client.post("/bots/nobody", json=ASK).json()) == {"error"}


@pytest.mark.parametrize(
    ("path", "named"),
    [("/bots/nasa", '"inputs"'), ("/v1/completions", '"prompt"'), ("/v1/chat/completions", '"messages"')],
)
def test_a_body_without_json_is_answered_with_the_form_of_its_route(client, path, named):
    answer = client.post(path, content=b"inputs=Hi")
    assert answer.status_code == 400 and named in answer.json()["error"]["message"]


def test_more_prompts_than_run_at_once_are_answered_in_order(client, bots):
    form = {"model": "@nasa", "prompt": [f"{number}" for number in range(20)], "echo": True}
    choices = client.post("/v1/completions", json=form).json()["choices"]
    assert [choice["index"] for choice in choices] == list(range(20))
    assert [choice["text"] for choice in choices] == [f"{number}{bots.text}" for number in range(20)]


def test_a_chat_below_a_bots_own_address_needs_no_model(client):
    form = {"messages": [{"role": "user", "content": "My dream is"}], "model": "tgi"}
    reply = client.post("/bots/nasa/v1/chat/completions", json=form).json()
    assert reply["model"] == "nasa" and reply["choices"][0]["message"]["content"]
    assert client.post("/bots/nasa/v1/completions", json={"prompt": "Hi"}).json()["choices"][0]["text"]
    assert client.post("/v1/chat/completions", json=form).status_code == 404
    missing = client.post("/v1/completions", json={"prompt": "Hi"})
    assert missing.status_code == 422 and "model" in missing.json()["error"]["message"]


@pytest.mark.parametrize("path", ["/bots/nasa", "/bots", "/v1/models"])
def test_an_unexpected_error_has_our_form_and_shows_nothing(bots, path, monkeypatch):
    def broken(name: str) -> dict:
        raise RuntimeError("a secret path: /srv/fleets")

    monkeypatch.setattr(bots, "about", broken)
    with TestClient(routes(bots), base_url="http://localhost:8000", raise_server_exceptions=False) as client:
        reply = client.get(path)
        assert reply.status_code == 500 and reply.json()["error"]["type"] == "internal_error"
        assert "secret" not in reply.text and reply.headers["X-Request-Id"]


@pytest.mark.parametrize("stream", [False, True])
def test_long_answers_count_as_several_requests_of_a_key(bots, stream):
    bots.text = "word " * 480  # of which 160 tokens are one request's
    app = Guard(build(bots))
    app.configure({keys.digest(KEY): 5}, [], 1)
    with TestClient(app, headers={"Authorization": f"Bearer {KEY}"}) as client:
        codes = [client.post("/bots/nasa", json=ASK | {"stream": stream}).status_code for _ in range(4)]
        assert codes == [200, 200, 429, 429]  # 3 of 5, then 3 of the 2 that are left


def test_a_bot_learns_who_asks_to_share_itself_fairly(bots):
    async def answer(bot, question):
        asked.append(guard.current_client())
        async for part in FakeBots.answer(bots, bot, question):
            yield part

    asked: list[str] = []
    bots.answer = answer
    with TestClient(routes(bots, KEY), headers={"Authorization": f"Bearer {KEY}"}) as client:
        for stream in (False, True):
            assert client.post("/bots/nasa", json=ASK | {"stream": stream}).status_code == 200
        assert client.post("/v1/completions", json={"model": "nasa", "prompt": ["a", "b"]}).status_code == 200
    assert asked == [keys.digest(KEY)[:8]] * 4
    with TestClient(routes(bots), base_url="http://localhost:8000", client=("203.0.113.9", 5)) as client:
        client.post("/bots/nasa", json=ASK)
    assert asked[-1] == "203.0.113.9"
