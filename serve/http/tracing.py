"""OpenTelemetry traces of requests, where the standard variable OTEL_EXPORTER_OTLP_ENDPOINT names a collector.

    tracing.start(tracing.settings(), "gateway")          # once in a gateway
    await tracing.passed_on(app, scope, receive, send)    # a request, in a span; below it, in the same task:
    call = tracing.current().child("call", "CLIENT")
    call.trace                                            # goes to a replica with the question, and there:
    tracing.of(call.trace).record("decode", began, ended, {"tokens": 20})

Where there is no collector nothing of OpenTelemetry is imported, and spans do nothing. Attributes hold no prompt, no
answer and no key. Times are in nanoseconds since 1970. docs/http.md describes the spans.
"""

import os
from collections.abc import Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Literal

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve.engine.question import Settings, Trace

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.trace import Span as RecordedSpan
    from opentelemetry.trace import Tracer

_SHOWN = ("fleet", "bot", "version", "tokens")  # of what the access log has of a request
_NOT_TRACED = ("/static/", "/metrics", "/health")
_COLLECTOR = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
Attributes = Mapping[str, str | int]
_tracer: "Tracer | None" = None  # of this process, once it is started
_settings: Settings = {}  # with which it was started


class Span:
    """A span that is not recorded: there is no collector."""

    trace: Trace | None = None

    def child(self, name: str, kind: Literal["INTERNAL", "CLIENT"] = "INTERNAL") -> "Span":
        """A span below this one that begins now."""
        return self

    def record(self, name: str, began: int, ended: int, attributes: Attributes) -> None:
        """Adds a span below this one that is over."""

    def end(self, attributes: Attributes | None = None) -> None:
        """Ends the span now; a second call does nothing."""


_NOTHING = Span()
_CURRENT: ContextVar[Span] = ContextVar("span", default=_NOTHING)


def settings() -> Settings | None:
    """The variables of OpenTelemetry in this process's environment; None where they name no collector.

    Without OTEL_EXPORTER_OTLP_HEADERS and the like, which may hold keys: those stay in the environment of the nodes.
    """
    if not any(os.environ.get(name) for name in _COLLECTOR) or os.environ.get("OTEL_SDK_DISABLED") == "true":
        return None
    given = {name: value for name, value in os.environ.items() if name.startswith("OTEL_")}
    return {name: value for name, value in given.items() if not name.endswith("HEADERS")}


def start(settings: Settings | None, process: Literal["gateway", "replica"]) -> None:
    """Sends what this process records to the collector that the settings name; a second call does nothing."""
    global _tracer, _settings
    if settings is None or _tracer:
        return
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    os.environ |= {"OTEL_SERVICE_NAME": "huggingtweets"} | settings  # of this process alone
    provider = TracerProvider(resource=Resource.create({"huggingtweets.process": process}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    _tracer, _settings = provider.get_tracer("huggingtweets"), settings


async def passed_on(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    """Passes a request on to the application, in a span that continues the client's trace, if there is one.

    `current` returns the span to everything that the application calls. Pages' files, metrics and /health have none.
    """
    if not _tracer or scope["path"].startswith(_NOT_TRACED):
        await app(scope, receive, send)
        return
    context = _context(Headers(scope=scope).get("traceparent", ""))
    span, status = _Recorded(_tracer, scope["method"], context, "SERVER"), 500  # unless there is a reply

    async def send_and_note(message: Message) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]
        await send(message)

    token = _CURRENT.set(span)
    try:
        await app(scope, receive, send_and_note)
    finally:
        _CURRENT.reset(token)
        span.end_request(scope, status)


def current() -> Span:
    """The span of the request that is being answered."""
    return _CURRENT.get()


def of(trace: Trace | None) -> Span:
    """The span of the gateway, below which a replica records."""
    if trace is None:
        return _NOTHING
    start(trace.settings, "replica")
    assert _tracer
    return _Below(_tracer, _context(trace.traceparent))


class _Below(Span):
    """Records spans below the one of this context."""

    def __init__(self, tracer: "Tracer", context: "Context"):
        self._tracer, self._context = tracer, context

    def child(self, name: str, kind: Literal["INTERNAL", "CLIENT"] = "INTERNAL") -> Span:
        return _Recorded(self._tracer, name, self._context, kind)

    def record(self, name: str, began: int, ended: int, attributes: Attributes) -> None:
        span = self._tracer.start_span(name, self._context, start_time=began, attributes=dict(attributes))
        span.end(ended)


class _Recorded(_Below):
    """A span of this process."""

    def __init__(self, tracer: "Tracer", name: str, context: "Context", kind: str):
        api = _api()
        self._span: RecordedSpan = tracer.start_span(name, context, kind=api.SpanKind[kind])
        super().__init__(tracer, api.set_span_in_context(self._span))
        about = self._span.get_span_context()
        parent = f"00-{about.trace_id:032x}-{about.span_id:016x}-{about.trace_flags:02x}"
        self.trace = Trace(parent, _settings)

    def end(self, attributes: Attributes | None = None) -> None:
        if self._span.is_recording():
            self._span.set_attributes(dict(attributes or {}))
            self._span.end()

    def end_request(self, scope: Scope, status: int) -> None:
        """Ends the span of a request, with the names that OpenTelemetry has for those of HTTP servers."""
        method, route = scope["method"], getattr(scope.get("route"), "path", "")
        about = {f"huggingtweets.{name}": value for name, value in scope["log_fields"].items() if name in _SHOWN}
        if status >= 500:
            self._span.set_status(_api().StatusCode.ERROR)
        self._span.update_name(f"{method} {route}".strip())
        self.end({"http.request.method": method, "http.response.status_code": status, "http.route": route} | about)


def _api() -> Any:
    """The module of OpenTelemetry, which is imported only where there is a collector."""
    from opentelemetry import trace

    return trace


def _context(traceparent: str) -> "Context":
    """The context that a `traceparent` header names; one without a span if it names none."""
    from opentelemetry.context import Context
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier: dict[str, Any] = {"traceparent": traceparent}
    return TraceContextTextMapPropagator().extract(carrier, Context())
