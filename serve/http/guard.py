"""What every request passes before it reaches a route: request id, keys and their rates, CORS, the access log.

    guard = Guard(build(bots))
    guard.configure(limits={keys.digest("the key of a client"): 60}, origins=["https://example.org"], gateways=1)

A plain ASGI application around another one, so that streams pass through as they come and a client that hangs up is
noticed. An unexpected error in a route becomes a 500 in our form.
"""

import math
import re
import time
import uuid

from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipeline.core import logs
from serve.http import keys
from serve.http.access_log import AccessLog
from serve.http.errors import ApiError
from serve.http.web import sign_in

_OPEN = (("GET", "/health"), ("POST", "/key"))  # need no key
MAX_ONGOING = 500  # requests of one gateway; more gateways are started well before
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


class Guard:
    """Wraps the routes of a gateway. Without `configure` everybody may use them."""

    def __init__(self, app: ASGIApp | None = None):
        self.app, self.ongoing = app, 0
        self._access_log = AccessLog()
        self._buckets: dict[str, keys.Bucket] = {}
        self.configure({}, [], 1)

    def configure(self, limits: dict[str, float | None], origins: list[str], gateways: int) -> None:
        """Sets who may ask.

        `limits` maps the digest of each key to its requests per minute, or None for no limit; without keys everybody
        may ask. `origins` are the sites whose pages may ask from a browser. `gateways` is the number of gateways that
        share each key's rate.
        """
        self.limits, self.gateways = limits, max(1, gateways)
        self._buckets = {digest: bucket for digest, bucket in self._buckets.items() if limits.get(digest)}
        self._cors = CORSMiddleware(
            self._check_and_pass,
            allow_origins=origins,
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "Content-Type", "X-Request-Id"],
            expose_headers=["X-Request-Id", "Retry-After", "X-Signature"],
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            assert self.app
            await self.app(scope, receive, send)
            return
        given_id = Headers(scope=scope).get("x-request-id", "")
        scope["request_id"] = given_id if _REQUEST_ID.fullmatch(given_id) else uuid.uuid4().hex
        fields = scope.setdefault("log_fields", {})
        start, status = time.perf_counter(), 0
        self.ongoing += 1

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                if scope["request_id"] != given_id:  # Serve's proxy sends back an id that came with the request
                    MutableHeaders(scope=message)["X-Request-Id"] = scope["request_id"]
            await send(message)

        try:
            await self._cors(scope, receive, send_with_id)
        except Exception:
            about = {name: fields[name] for name in ("fleet", "bot", "version") if name in fields}
            logs.log(**about, request_id=scope["request_id"]).exception("unexpected error")
            if not status:
                error = ApiError(
                    500, "internal_error", "unexpected error; the gateway's log has it under the request id"
                )
                await error.reply()(scope, receive, send_with_id)
        finally:
            self.ongoing -= 1
            self._access_log.write(scope, status, time.perf_counter() - start)

    async def _check_and_pass(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            self._check(scope)
        except ApiError as error:
            await _refusal(Request(scope), error)(scope, receive, send)
            return
        assert self.app
        await self.app(scope, receive, send)

    def _check(self, scope: Scope) -> None:
        """Raises ApiError 503 at too many ongoing requests, 401 without a valid key, 429 above the key's rate."""
        if self.ongoing > MAX_ONGOING:
            raise ApiError(503, "overloaded", "the gateway is busy; try again", 1)
        if not self.limits or (scope["method"], scope["path"]) in _OPEN:
            return
        request = Request(scope)
        given = keys.given(request.headers.get("authorization", "")) or request.cookies.get(sign_in.COOKIE)
        digest = keys.known(given, list(self.limits)) if given else None
        if digest is None:
            raise ApiError(401, "unauthorized", "send a valid key: Authorization: Bearer KEY")
        scope["log_fields"]["key"] = digest[:8]
        self._count(digest)

    def _count(self, digest: str) -> None:
        """Counts a request with this key. Raises ApiError 429 above the key's rate."""
        rate = self.limits[digest]
        if rate:
            rate = max(1.0, rate / self.gateways)
            wait = self._buckets.setdefault(digest, keys.Bucket(rate)).wait(rate)
            if wait:
                raise ApiError(429, "rate_limited", "this key has reached its requests per minute", math.ceil(wait))


def _refusal(request: Request, error: ApiError) -> Response:
    """The error as a reply; a browser without a valid key gets a form that asks for one."""
    if error.code != 401:
        return error.reply()
    if "text/html" in request.headers.get("accept", ""):
        return sign_in.form(request)
    reply = error.reply()
    reply.headers["WWW-Authenticate"] = "Bearer"
    return reply
