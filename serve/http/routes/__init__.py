"""The HTTP routes: one module for each group of them, put together here.

    app = build(bots)               # an ASGI application over anything that has the methods of bots.Bots

A list, a 404 or a bad request is answered from the gateway's own table and wakes no bot.
"""

import functools
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import Response
from pydantic.json_schema import models_json_schema
from starlette.exceptions import HTTPException
from starlette.middleware.gzip import GZipMiddleware
from starlette.types import Receive, Scope, Send

from serve.http import web
from serve.http.body import REFERENCE
from serve.http.bots import Bots
from serve.http.errors import ApiError, internal_error
from serve.http.forms.chat import Chat
from serve.http.forms.completions import Completion
from serve.http.forms.game import Pick
from serve.http.forms.text_generation import TextGeneration
from serve.http.routes import game, listing, openai, signatures, text_generation


def build(bots: Bots) -> FastAPI:
    """The application with all routes; serve.http.guard.Guard stands before it."""
    app = FastAPI(title="huggingtweets", docs_url=None, redoc_url=None)
    app.state.bots = bots
    app.add_middleware(_CompressedReads, minimum_size=1_000, compresslevel=6)
    app.add_exception_handler(ApiError, _api_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Exception, _unexpected)  # the framework would answer in plain text, then raise it again
    for router in (web.router, listing.router, signatures.router, text_generation.router, openai.router, game.router):
        app.include_router(router)
    app.openapi = functools.partial(_openapi, app)  # type: ignore[method-assign]
    return app


class _CompressedReads(GZipMiddleware):
    """Compresses pages and lists for clients that ask for it; answers of bots are short, or streams."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        reads = scope["type"] == "http" and scope["method"] == "GET"
        await (super().__call__ if reads else self.app)(scope, receive, send)


def _openapi(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document, with the forms that the routes read themselves."""
    if not app.openapi_schema:
        document = FastAPI.openapi(app)
        forms = [(form, "validation") for form in (TextGeneration, Completion, Chat, Pick)]
        _, schemas = models_json_schema(forms, ref_template=REFERENCE)  # type: ignore[arg-type]
        document.setdefault("components", {}).setdefault("schemas", {}).update(schemas["$defs"])
        app.openapi_schema = document
    return app.openapi_schema


async def _api_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return error.reply(request.scope)


async def _unexpected(request: Request, error: Exception) -> Response:
    return internal_error().reply(request.scope)


async def _http_error(request: Request, error: Exception) -> Response:
    """The framework's own errors (no such route, wrong method), in our form; a browser gets a page."""
    assert isinstance(error, HTTPException)
    if error.status_code == 404 and request.method == "GET" and "text/html" in request.headers.get("accept", ""):
        return web.missing(request)
    kind = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "bad_request")
    reply = ApiError(error.status_code, kind, str(error.detail)).reply(request.scope)
    reply.headers.update(error.headers or {})
    return reply
