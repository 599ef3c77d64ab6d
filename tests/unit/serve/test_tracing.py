"""Traces of requests: sent to the collector that the environment names, and nothing without one."""

import asyncio
import contextlib
import subprocess
import sys
import time
from types import SimpleNamespace
from typing import Any

import pytest
from fastapi.testclient import TestClient

from serve.deployments import gateway
from serve.deployments.endpoint import stream_answer
from serve.deployments.gateway_metrics import GatewayMetrics
from serve.deployments.traffic import Traffic
from serve.engine.engine import Engine
from serve.engine.parameters import Parameters
from serve.engine.question import Question
from serve.engine.thread import EngineThread
from serve.http import tracing
from serve.http.errors import ApiError
from serve.http.guard import Guard
from serve.http.routes import build
from tests.support.fake_bots import FakeBots
from tests.support.otlp import Collector
from tests.support.toys import environment

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE}-b7ad6b7169203331-01"
SECRET = "what somebody asked"


@pytest.fixture
def collector(monkeypatch):
    one = Collector()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", one.endpoint)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "api-key=secret")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "birds")
    monkeypatch.setattr(tracing, "_tracer", None)
    monkeypatch.setattr(tracing, "_settings", {})
    tracing.start(tracing.settings(), "gateway")
    yield one
    one.stop()


def spans(collector: Collector, trace: str = TRACE) -> dict[str, Any]:
    tracing._tracer.span_processor.force_flush()
    return collector.of(trace)


@pytest.fixture
def client():
    bots = FakeBots(["nasa"])
    with TestClient(Guard(build(bots)), base_url="http://127.0.0.1", raise_server_exceptions=False) as client:
        client.bots = bots
        yield client


def test_a_request_continues_the_clients_trace_and_shows_no_words(collector, client):
    headers = {"traceparent": PARENT, "Authorization": "Bearer a-key"}
    assert client.post("/bots/nasa", json={"inputs": SECRET}, headers=headers).status_code == 200
    [span] = spans(collector).values()
    assert (span["name"], span["parent"], span["service"]) == ("POST /bots/{bot}", "b7ad6b7169203331", "birds")
    assert span["attributes"] == {
        "http.request.method": "POST",
        "http.response.status_code": 200,
        "http.route": "/bots/{bot}",
        "huggingtweets.fleet": "birds",
        "huggingtweets.bot": "nasa",
        "huggingtweets.version": "0123456789ab",
        "huggingtweets.tokens": 12,
    }
    sent = b"".join(collector.bodies)
    assert not [word for word in (SECRET, "a-key", "whale", "secret") if word.encode() in sent]


def test_without_a_valid_traceparent_a_trace_begins_and_failures_are_marked(collector, client):
    client.bots.refuse = [ApiError(503, "overloaded", "nasa is busy", 2), ApiError(404, "not_found", "gone")]
    for _ in range(2):
        client.post("/bots/nasa", json={"inputs": "Tea"}, headers={"traceparent": "00-nothing"})
    client.get("/health")
    client.get("/static/page.css")
    spans(collector)
    assert [(span["failed"], span["parent"]) for span in collector.spans] == [(True, ""), (False, "")]
    assert len({span["trace"] for span in collector.spans}) == 2


def test_a_stream_is_traced_until_its_end(collector, client):
    client.bots.pause = 0.01
    ask = {"inputs": "Tea", "stream": True}
    with client.stream("POST", "/bots/nasa", json=ask, headers={"traceparent": PARENT}) as reply:
        list(reply.iter_lines())
    [span] = spans(collector).values()
    assert span["ended"] - span["began"] > 12 * 0.01 * 1e9


def test_waiting_and_calling_are_spans_of_the_gateway(collector):
    asked = []

    class Handle:
        def options(self, **options: object) -> "Handle":
            return self

        @property
        def answer(self) -> "Handle":
            return self

        def remote(self, bot: str, version: str, question: Question) -> Any:
            asked.append(question)
            return SimpleNamespace(cancel=lambda: None)

    one: Any = object.__new__(gateway.Gateway.func_or_class.__bases__[0])  # without HTTP
    one.guard, one.queues, one.traffic, one.metrics = Guard(), {}, Traffic(), GatewayMetrics()
    one.table = {"nasa": {"fleet": "birds", "version": "1", "where": "pool", "endpoint": "pooled"}}
    one.handles = SimpleNamespace(of=lambda *names: contextlib.nullcontext(Handle()))
    entry: Any = {"max_replicas": 1, "max_queued_requests": 1, "where": "pool"}

    async def answer(scope: Any, receive: Any, send: Any) -> None:
        now = asyncio.get_running_loop().time()
        async with one._place("nasa", entry, now, now + 9), one._calling("nasa", 2, Question(SECRET)):
            await asyncio.sleep(0.02)

    scope = {"type": "http", "method": "POST", "path": "/", "headers": [(b"traceparent", PARENT.encode())]}
    asyncio.run(tracing.passed_on(answer, scope | {"log_fields": {}}, None, None))  # type: ignore[arg-type]
    found = spans(collector)
    request, wait, call = found["POST"], found["wait"], found["call"]
    assert wait["parent"] == call["parent"] == request["id"]
    assert call["attributes"] == {"where": "pool", "attempt": 2} and call["ended"] - call["began"] > 0.02e9
    assert wait["ended"] <= call["began"]
    assert asked[0].trace.traceparent == f"00-{TRACE}-{call['id']}-01"
    assert asked[0].trace.settings["OTEL_EXPORTER_OTLP_ENDPOINT"] == collector.endpoint
    assert "secret" not in str(asked[0].trace)  # keys stay in the environment


def test_a_replica_adds_the_times_of_its_engine(collector, base):
    thread = EngineThread(Engine(base))
    trace = tracing.Trace(PARENT, tracing.settings() or {})
    question = Question("Engine", Parameters(max_new_tokens=9, min_new_tokens=9, n=2), trace=trace)

    async def run() -> None:
        async for _ in stream_answer(thread, "1", question):
            pass

    before = time.time_ns()
    asyncio.run(run())
    thread.close()
    found = spans(collector)
    assert set(found) == {"queue", "prefill", "decode"}
    assert {span["parent"] for span in found.values()} == {"b7ad6b7169203331"}
    times = [found[name][edge] for name in ("queue", "prefill", "decode") for edge in ("began", "ended")]
    assert times == sorted(times) and before <= times[0] and times[-1] <= time.time_ns()
    assert found["decode"]["attributes"] == {"tokens": 18, "texts": 2}
    assert found["prefill"]["attributes"]["tokens"] > 1


def test_without_a_collector_nothing_is_imported():
    code = (
        "import sys\n"
        "from serve.http import tracing\n"
        "tracing.start(tracing.settings(), 'gateway')\n"
        "span = tracing.current().child('call', 'CLIENT')\n"
        "span.end({}); tracing.of(span.trace).record('decode', 1, 2, {})\n"
        "assert span.trace is None and not [name for name in sys.modules if name.startswith('opentelemetry')]\n"
    )
    for off in ({}, {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_SDK_DISABLED": "true"}):
        subprocess.run([sys.executable, "-c", code], env=environment() | off, check=True)
