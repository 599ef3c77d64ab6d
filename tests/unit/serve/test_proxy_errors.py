"""What clients get from Serve's proxy where a gateway is killed while it answers."""

import pytest
from fastapi.testclient import TestClient
from ray.serve._private.http_util import _apply_middlewares
from starlette.responses import PlainTextResponse

from serve.http.proxy_errors import middlewares

ERROR = {"message": "the gateway was lost before it had answered; try again", "type": "gateway_lost", "code": 503}


def reply_of(app, path="/bots/nasa"):
    """A client's reply where `app` is what the proxy does with the request."""
    return TestClient(_apply_middlewares(app, middlewares())).post(path, json={}, headers={"X-Request-Id": "mine"})


async def nothing(scope, receive, send):
    """A gateway is killed before it replied: the proxy sends nothing, and its server then an error in plain text."""


@pytest.mark.parametrize("app", [nothing, PlainTextResponse("No replicas are available", 503)])
def test_a_lost_gateway_is_an_error_in_the_form_of_all_others(app):
    reply = reply_of(app)
    assert reply.status_code == 503 and reply.json() == {"error": ERROR, "error_type": "overloaded"}
    assert reply.headers["retry-after"] == "2" and reply.headers["x-request-id"] == "mine"
    assert reply_of(app, "/v1/completions").json() == {"error": ERROR}


@pytest.mark.parametrize(
    "path,event",
    [
        (
            "/bots/nasa",
            b'{"error": "the gateway was lost before it had answered; try again", "error_type": "gateway_lost"}',
        ),
        ("/v1/completions", b'{"error": {"message": "the gateway was lost before it had answered; try again"'),
    ],
)
def test_a_stream_that_was_cut_off_ends_with_an_error(path, event):
    async def cut(scope, receive, send):
        headers = [(b"content-type", b"text/event-stream; charset=utf-8")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"data: {}\n\n", "more_body": True})

    first, last = reply_of(cut, path).content.removesuffix(b"\n\n").split(b"\n\n")
    assert first == b"data: {}" and last.startswith(b"data: " + event)


def test_all_else_passes_as_it_is():
    for app, path in (
        (PlainTextResponse("metrics"), "/metrics"),
        (PlainTextResponse("draining", 503), "/-/healthz"),
        (PlainTextResponse("no such path", 404), "/elsewhere"),
    ):
        reply = reply_of(app, path)
        assert (reply.status_code, reply.content) == (app.status_code, app.body)
