"""HTTP servers on loopback that play somebody else's API.

class Weather(FakeServer):
    def __init__(self):
        super().__init__(WeatherHandler)
        self.degrees = 20

class WeatherHandler(FakeHandler):
    def do_GET(self): self.answer_json(200, {"degrees": self.server.degrees})
"""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit


class FakeServer(ThreadingHTTPServer):
    """A server on a free port, in a thread of its own; it answers from the start."""

    def __init__(self, handler: type[BaseHTTPRequestHandler]):
        super().__init__(("127.0.0.1", 0), handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def address(self) -> str:
        """Its URL, without a slash at the end."""
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Prints nothing: a client that is killed cuts its connection."""

    def stop(self) -> None:
        """Stops the server and frees its port."""
        self.shutdown()
        self.server_close()


class FakeHandler(BaseHTTPRequestHandler):
    """Answers a request; subclasses define do_GET and the like."""

    def parameters(self) -> dict[str, str]:
        """The query of the request's URL; of a name that stands there twice, the first value."""
        return {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}

    def body(self) -> bytes:
        """The request's body."""
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def answer_json(self, code: int, value: Any, **headers: str) -> None:
        """Answers with a value as JSON; underscores in the names of headers stand for hyphens."""
        self.answer(code, json.dumps(value).encode(), Content_Type="application/json", **headers)

    def answer(self, code: int, data: bytes, **headers: str) -> None:
        """Answers with these bytes; underscores in the names of headers stand for hyphens."""
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def cut(self) -> None:
        """Answers with the beginning of a body, and closes the connection."""
        self.send_response(200)
        self.send_header("Content-Length", "5000")
        self.end_headers()
        self.wfile.write(b'{"data": [')
        self.close_connection = True

    def log_message(self, *arguments: Any) -> None:
        """Logs nothing."""


def redirected(adapter: type, server: FakeServer) -> type:
    """A requests adapter like this one, which sends all requests to the server wherever they are addressed."""

    class Redirected(adapter):  # type: ignore[misc, valid-type]
        def send(self, request: Any, **options: Any) -> Any:
            parts = urlsplit(request.url)
            request.url = f"{server.address}{parts.path}?{parts.query}"
            return super().send(request, **options)

    return Redirected
