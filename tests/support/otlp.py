"""An OpenTelemetry collector on loopback, which keeps the spans that it is sent by OTLP over HTTP."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


class Collector:
    """`spans` has one dict for each span; `bodies` what was received."""

    def __init__(self) -> None:
        self.spans: list[dict[str, Any]] = []
        self.bodies: list[bytes] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                assert self.path == "/v1/traces"
                collector._take(self.rfile.read(int(self.headers["Content-Length"])))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *arguments: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def _take(self, body: bytes) -> None:
        self.bodies.append(body)
        for group in ExportTraceServiceRequest.FromString(body).resource_spans:
            process = _values(group.resource.attributes)
            for spans in group.scope_spans:
                for span in spans.spans:
                    self.spans.append(
                        {
                            "name": span.name,
                            "trace": span.trace_id.hex(),
                            "id": span.span_id.hex(),
                            "parent": span.parent_span_id.hex(),
                            "began": span.start_time_unix_nano,
                            "ended": span.end_time_unix_nano,
                            "failed": span.status.code == 2,
                            "attributes": _values(span.attributes),
                            "process": process["huggingtweets.process"],
                            "service": process["service.name"],
                        }
                    )

    def of(self, trace: str) -> dict[str, dict[str, Any]]:
        """The spans of a trace by name."""
        return {span["name"]: span for span in self.spans if span["trace"] == trace}

    def stop(self) -> None:
        """Stops listening."""
        self._server.shutdown()
        self._server.server_close()


def _values(attributes: Any) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in attributes}
