"""Errors of Serve's HTTP proxy in the form that the gateway's have.

    os.environ["RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH"] = "serve.http.proxy_errors:middlewares"     # the proxy's

The proxy stands before the gateways, in a process of its own. Where a gateway is killed while it answers, or none is
left, the proxy replies in plain text, and cuts off a stream that has begun.
"""

import json

from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve.http.errors import ApiError

_RETRY_SECONDS = 2


class ProxyErrors:
    """Wraps the proxy's application."""

    def __init__(self, app: ASGIApp):
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith("/-/"):  # the proxy's own routes
            await self.app(scope, receive, send)
            return
        begun = failed = ended = events = False

        async def send_unless_failed(message: Message) -> None:
            nonlocal begun, failed, ended, events
            if message["type"] == "http.response.start":
                kind = Headers(raw=message["headers"]).get("content-type", "")
                failed = message["status"] >= 500 and kind.startswith("text/plain")
                begun, events = not failed, kind.startswith("text/event-stream")
            elif message["type"] == "http.response.body":
                ended = not message.get("more_body", False)
            if not failed:
                await send(message)

        await self.app(scope, receive, send_unless_failed)
        error = ApiError(503, "gateway_lost", "the gateway was lost before it had answered; try again", _RETRY_SECONDS)
        if not begun:
            reply = error.reply(scope)
            reply.headers["X-Request-Id"] = Headers(scope=scope).get("x-request-id", "")
            await reply(scope, receive, send)
        elif events and not ended:
            event = f"data: {json.dumps(error.event(scope))}\n\n"
            await send({"type": "http.response.body", "body": event.encode()})


def middlewares() -> list[Middleware]:
    """What Serve's proxy wraps its application in."""
    return [Middleware(ProxyErrors)]
