"""An S3 server on loopback (moto) that fails on request."""

import random
import threading
from typing import Any

import boto3
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

BUCKET = "fleets"


class S3Server:
    """`failures` is the share of requests that fail, every other one with 503 SlowDown, the rest without an answer.

    While `gone` is set no request is answered. `asked` and `failed` count requests.
    """

    def __init__(self, port: int):
        self.failures, self.gone, self.failed, self.asked = 0.0, False, 0, 0
        self._dice = random.Random(0)
        self._application = DomainDispatcherApplication(create_backend_app)
        self._server = make_server("127.0.0.1", port, self._answer, threaded=True)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        boto3.client("s3", endpoint_url=f"http://127.0.0.1:{port}").create_bucket(Bucket=BUCKET)

    def _answer(self, environ: dict[str, Any], start_response: Any) -> Any:
        self.asked += 1
        if self.gone or self._dice.random() < self.failures:
            self.failed += 1
            if self.gone or self.failed % 2:
                raise ConnectionAbortedError  # the connection is closed without an answer
            start_response("503 Slow Down", [("Content-Type", "application/xml")])
            return [b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"]
        return self._application(environ, start_response)

    def stop(self) -> None:
        """Stops the server."""
        self._server.shutdown()
