"""What stands before every route: a request id, keys and their rates, CORS, the access log, the last resort.

    app = Guard(build(bots)); app.allow(keys, origins, gateways)

One pure ASGI application around another, so that streams pass through as they come and a client that hangs
up is noticed. Every request leaves one JSON line in the log.
"""

import json
import logging
import math
import re
import sys
import time
import uuid
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipeline.core import logs
from serve.http import keys
from serve.http.routes import error_reply
from serve.http.schema import ApiError
from serve.http.web import key

_OPEN = (("GET", "/health"), ("POST", "/key"))  # need no key
MAX_ONGOING = 500  # requests of one gateway; more gateways are started well before
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_SHOWN = 200  # characters of a path that a log line holds at most
_TOLD = ("fleet", "bot", "version", "tokens", "first_token_seconds")  # of a request for text


class Guard:
    def __init__(self, app: ASGIApp | None = None):
        self.app, self.ongoing = app, 0
        self.access = _access_log()
        self.allow({}, [], 1)

    def allow(self, limits: dict[str, float | None], origins: list[str], gateways: int) -> None:
        """Takes over who may ask: {digest of a key: requests a minute, or None}, and origins for CORS.

        No key at all means that everybody may. `gateways` share each key's rate.
        """
        self.limits, self.gateways = limits, max(1, gateways)
        self.buckets = {key: bucket for key, bucket in getattr(self, "buckets", {}).items() if limits.get(key)}
        self.cors = CORSMiddleware(
            self._inner,
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
        headers = Headers(scope=scope)
        asked = headers.get("x-request-id", "")
        scope["request_id"] = asked if _REQUEST_ID.fullmatch(asked) else uuid.uuid4().hex
        told: dict[str, Any] = scope.setdefault("told", {})
        began, status = time.perf_counter(), 0
        self.ongoing += 1

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                if scope["request_id"] != asked:  # else Serve's proxy, which gives every request an id, says it
                    MutableHeaders(scope=message)["X-Request-Id"] = scope["request_id"]
            await send(message)

        try:
            await self.cors(scope, receive, answer)
        except Exception:
            about = {name: told[name] for name in ("fleet", "bot", "version") if name in told}
            logs.log(**about, request_id=scope["request_id"]).exception("unexpected error")
            if not status:
                error = ApiError(500, "internal_error", "an unexpected error; see the log under this request's id")
                await error_reply(error)(scope, receive, answer)
        finally:
            self.ongoing -= 1
            self.access.info(
                json.dumps(
                    {
                        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                        "request_id": scope["request_id"],
                        "client": (scope.get("client") or [None])[0],
                        "key": told.get("key"),
                        "method": scope["method"][:10],
                        "path": scope["path"][:_SHOWN],
                        "status": status or 499,  # 499: the client was gone before an answer began
                        "seconds": round(time.perf_counter() - began, 4),
                    }
                    | {name: told[name] for name in _TOLD if name in told}
                )
            )

    async def _inner(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            self._check(scope)
        except ApiError as error:
            request = Request(scope)
            if error.code == 401 and "text/html" in request.headers.get("accept", ""):
                reply: Response = key.form(request)  # a browser shows its user a place to enter one
            else:
                reply = error_reply(error)
                if error.code == 401:
                    reply.headers["WWW-Authenticate"] = "Bearer"
            await reply(scope, receive, send)
            return
        assert self.app
        await self.app(scope, receive, send)

    def _check(self, scope: Scope) -> None:
        """Raises ApiError 401 without a valid key, 429 with one that is used too often."""
        if self.ongoing > MAX_ONGOING:
            raise ApiError(503, "overloaded", "the gateway is busy; try again", 1)
        if not self.limits or (scope["method"], scope["path"]) in _OPEN:
            return
        request = Request(scope)
        asked = keys.given(request.headers.get("authorization", "")) or request.cookies.get(key.COOKIE)
        found = keys.known(asked, list(self.limits)) if asked else None
        if found is None:
            raise ApiError(401, "unauthorized", "a valid key is needed: Authorization: Bearer KEY")
        scope["told"]["key"] = found[:8]  # which one, not what it is
        rate = self.limits[found]
        if rate:
            rate = max(1.0, rate / self.gateways)
            wait = self.buckets.setdefault(found, keys.Bucket(rate)).wait(rate)
            if wait:
                raise ApiError(429, "rate_limited", "this key is used too often; wait", math.ceil(wait))


def _access_log() -> logging.Logger:
    """Lines of JSON on stdout, which Ray keeps in its logs folder, a file per gateway."""
    logger = logging.getLogger("huggingtweets.access")
    if not logger.handlers:
        handler = logging.StreamHandler(sys.stdout)
        handler.setFormatter(logging.Formatter("%(message)s"))
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        logger.propagate = False
    return logger
