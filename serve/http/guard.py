"""Checks every request before it reaches a route: its origin, key, rate and body, and whether the gateway has room.

    guard = Guard(build(bots))
    guard.configure(limits={keys.digest("the key of a client"): 60}, origins=["https://example.org"], gateways=1)

It also gives each request an id and writes the access log. It is a plain ASGI application around another one, so that
streams are passed on as they come and the application learns when a client hangs up. Cheap checks come first: a request
without a valid key is refused before its body is read, and a request counts as ongoing only once its body has arrived.
"""

import math
import re
import time
import uuid
from contextvars import ContextVar

from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipeline.core import logs
from serve.http import keys, origin, tracing
from serve.http.access_log import AccessLog
from serve.http.body import receive_whole
from serve.http.errors import ApiError, internal_error
from serve.http.web import sign_in

_CLIENT: ContextVar[str] = ContextVar("client", default="")
MAX_ONGOING = 500  # requests of one gateway; more gateways are started well before
MAX_HEADER_BYTES = 16 * 1024  # names and values together
PUBLIC_KEYS = "/.well-known/huggingtweets-keys.json"
# need no key; public keys are for everybody who was shown an answer
_OPEN = (("GET", "/health"), ("HEAD", "/health"), ("POST", "/key"), ("POST", "/sign-out"), ("GET", PUBLIC_KEYS))
# not counted against a key's rate: a page loads several files, and Prometheus reads the metrics all the time
_NOT_COUNTED = ("/static/", "/metrics")
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


class Guard:
    """Wraps the routes of a gateway. Until `configure` is called everybody may use them."""

    def __init__(self, app: ASGIApp | None = None):
        self.app, self.ongoing = app, 0
        self._access_log = AccessLog()
        self._buckets: dict[str, keys.Bucket] = {}
        self.configure({}, [], 1)

    def configure(self, limits: dict[str, float | None], origins: list[str], gateways: int) -> None:
        """Sets who may use the routes.

        `limits` maps the digest of each key to its requests per minute, or None for no limit; without keys everybody
        may use them. `origins` are the sites whose pages may send requests from a browser. `gateways` is the number of
        gateways that share each key's rate.
        """
        self.limits, self.origins, self.gateways = limits, origins, max(1, gateways)
        self._buckets = {digest: bucket for digest, bucket in self._buckets.items() if limits.get(digest)}
        self._cors = CORSMiddleware(
            self._check_and_pass,
            allow_origins=origins,
            allow_methods=["GET", "POST"],
            allow_headers=["*"],  # clients add their own, such as OpenAI's x-stainless-…
            expose_headers=["X-Request-Id", "Retry-After", "X-Signature", "X-AI-Generated"],
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            assert self.app
            await self.app(scope, receive, send)
            return
        given_id = Headers(scope=scope).get("x-request-id", "")
        scope["request_id"] = given_id if _REQUEST_ID.fullmatch(given_id) else uuid.uuid4().hex
        scope["path"] = re.sub("/{2,}", "/", scope["path"])  # an address that ends in / joined with a path
        fields = scope.setdefault("log_fields", {})
        start, status = time.perf_counter(), 0

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
                await internal_error().reply(scope)(scope, receive, send_with_id)
        finally:
            self._access_log.write(scope, status, time.perf_counter() - start)

    async def _check_and_pass(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope)
        try:
            self._check(request)
            _CLIENT.set(scope["log_fields"].get("key") or (scope.get("client") or [""])[0])
            if scope["method"] == "POST":
                receive = await receive_whole(request.headers, receive)
            if self.ongoing >= MAX_ONGOING and scope["path"] != "/health":
                raise ApiError(503, "overloaded", "the gateway is busy; try again", 1)
        except ApiError as error:
            await _refusal(request, error)(scope, receive, send)
            return
        assert self.app
        self.ongoing += 1
        try:
            await tracing.passed_on(self.app, scope, receive, send)
        finally:
            self.ongoing -= 1

    def _check(self, request: Request) -> None:
        """Checks headers, origin, key and rate. Raises ApiError 400, 401, 403, 429 or 431."""
        if sum(len(name) + len(value) for name, value in request.headers.raw) > MAX_HEADER_BYTES:
            raise ApiError(431, "headers_too_large", f"the headers exceed {MAX_HEADER_BYTES} bytes")
        host = origin.host_name(request)
        origin.check_post(request, self.origins)
        if (request.method, request.scope["path"]) in _OPEN:
            return
        if not self.limits:
            origin.check_host(request, host, self.origins)
            return
        digest = self._digest(request)
        if digest is None:
            raise ApiError(401, "unauthorized", "send a valid key: Authorization: Bearer KEY")
        request.scope["log_fields"]["key"] = digest[:8]
        if not request.scope["path"].startswith(_NOT_COUNTED):
            self._count(request, digest)

    def _digest(self, request: Request) -> str | None:
        """The digest of the key in the request's header, or of the one with which its browser signed in."""
        key = keys.given(request.headers.get("authorization", ""))
        if key:
            return keys.known(key, list(self.limits))
        return keys.signed_in(request.cookies.get(sign_in.COOKIE, ""), list(self.limits))

    def _count(self, request: Request, digest: str) -> None:
        """Counts a request with this key; its answer will count as more if it is long (answers.py).

        Raises ApiError 429 above the key's rate.
        """
        rate = self.limits[digest]
        if rate:
            rate = max(1.0, rate / self.gateways)
            bucket = self._buckets.setdefault(digest, keys.Bucket(rate))
            wait = bucket.wait(rate)
            if wait:
                raise ApiError(429, "rate_limited", "this key has reached its requests per minute", math.ceil(wait))
            request.scope["charge"] = bucket.charge


def current_client() -> str:
    """Who makes the request that is being answered: the beginning of a key's digest, else an address."""
    return _CLIENT.get()


def _refusal(request: Request, error: ApiError) -> Response:
    """The error as a reply; a browser without a valid key gets a form that asks for one."""
    if error.code == 401 and "text/html" in request.headers.get("accept", ""):
        return sign_in.form(request)
    reply = error.reply(request.scope)
    if error.code == 401:
        reply.headers["WWW-Authenticate"] = "Bearer"
    if error.code == 408:
        reply.headers["Connection"] = "close"  # the rest of the body is not waited for
    return reply
