"""All HTTP: the gateway answers what it knows itself and passes prompts on to the bots.

    curl localhost:8000/bots
    curl localhost:8000/bots/nasa -d '{"inputs": "My dream is"}'

It holds a table of what is served (from `deploy`, as its user_config), so that a list, a 404 or a bad
request wakes no bot. Requests are checked against the limits of schema.py before any work is done.
"""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from pydantic import ValidationError
from ray import serve
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError
from starlette.exceptions import HTTPException

from pipeline.names import is_bot_name
from serve import schema, web
from serve.schema import ApiError

APP = "gateway"
RETRY_SECONDS = 2
log = logging.getLogger("ray.serve")
http = FastAPI(title="huggingtweets", docs_url=None, redoc_url=None)
http.include_router(web.router)


def app_name(bot: str) -> str:
    """The name of a bot's Serve application; a bot may be called like the gateway."""
    return f"bot-{bot}"


@http.exception_handler(ApiError)
async def _api_error(request: Request, error: ApiError) -> JSONResponse:
    headers = {"Retry-After": str(error.retry_after)} if error.retry_after else None
    return JSONResponse(error.body(), error.code, headers)


@http.exception_handler(HTTPException)
async def _http_error(request: Request, error: HTTPException) -> JSONResponse:
    kind = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "bad_request")
    return JSONResponse(ApiError(error.status_code, kind, str(error.detail)).body(), error.status_code, error.headers)


@http.middleware("http")
async def _last_resort(request: Request, call: Callable[[Request], Awaitable[Response]]) -> Response:
    try:
        return await call(request)
    except Exception:
        log.exception("unexpected error")
        return JSONResponse(ApiError(500, "internal_error", "an unexpected error; see the log").body(), 500)


async def _json_body(request: Request) -> Any:
    """The body as JSON, never more than MAX_BODY_BYTES of it in memory."""
    too_large = ApiError(413, "too_large", f"the body exceeds {schema.MAX_BODY_BYTES} bytes")
    length = request.headers.get("content-length", "0")
    if length.isdigit() and int(length[:18]) > schema.MAX_BODY_BYTES:
        raise too_large
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > schema.MAX_BODY_BYTES:
            raise too_large
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise ApiError(400, "bad_request", 'the body is not JSON; send {"inputs": "My dream is"}') from None


@serve.deployment(
    num_replicas=1,
    max_ongoing_requests=1000,
    ray_actor_options={"num_cpus": 0},  # it waits for bots; a node of only bots still has room for it
)
@serve.ingress(http)
class Gateway:
    def __init__(self) -> None:
        self.bots: dict[str, dict[str, Any]] = {}
        self.handles: dict[str, Any] = {}

    def reconfigure(self, config: dict[str, Any]) -> None:
        """Takes over the table of bots: {name: {"fleet", "version", "handles", …}}."""
        self.bots = dict(sorted(config["bots"].items()))
        self.handles = {}

    def table(self) -> dict[str, dict[str, Any]]:
        return self.bots

    @http.get("/health")
    async def health(self) -> dict[str, str]:
        return {"status": "ok"}

    @http.get("/bots")
    async def list_bots(self, q: str = "", limit: str = "100", cursor: str = "") -> dict[str, Any]:
        """A page of bots whose name holds `q`, sorted by name; `next` is the following page's cursor."""
        if not limit.isascii() or not limit.isdigit() or not 1 <= int(limit[:9]) <= schema.MAX_PAGE:
            raise ApiError(422, "validation_error", f"limit: a number from 1 to {schema.MAX_PAGE}")
        wanted = q.strip().removeprefix("@").lower()
        names = [name for name in self.bots if wanted in name and name > cursor]
        page = names[: int(limit)]
        more = page[-1] if len(names) > len(page) else None
        return {"bots": [self._about(name) for name in page], "next": more, "total": len(self.bots)}

    @http.get("/bots/{bot}")
    async def about(self, bot: str) -> dict[str, Any]:
        return self._about(self._known(bot))

    @http.post("/bots/{bot}")
    async def generate(self, bot: str, request: Request) -> list[dict[str, str]]:
        """The Hugging Face text-generation form."""
        bot = self._known(bot)
        try:
            asked = schema.TextGeneration.model_validate(await _json_body(request))
        except ValidationError as error:
            raise ApiError(422, "validation_error", schema.explain(error)) from None
        choices = await self._ask(bot, asked)
        before = asked.inputs if asked.parameters.return_full_text else ""
        return [{"generated_text": before + choice["text"]} for choice in choices]

    def _known(self, name: str) -> str:
        bot = name.lower()
        if not is_bot_name(bot) or bot not in self.bots:
            raise ApiError(404, "not_found", "no such bot is served here; GET /bots lists them")
        return bot

    def _about(self, bot: str) -> dict[str, Any]:
        entry = self.bots[bot]
        shown = ("fleet", "handles", "version", "ready", "counts", "metrics")
        return {"name": bot} | {key: entry[key] for key in shown} | {"links": {"self": f"/bots/{bot}"}}

    async def _ask(self, bot: str, asked: schema.TextGeneration) -> list[dict[str, Any]]:
        """Calls the bot, within its deadline; whoever hangs up or runs out of time stops the generation."""
        if bot not in self.handles:
            self.handles[bot] = serve.get_app_handle(app_name(bot))
        response = self.handles[bot].generate.remote(asked.inputs, asked.parameters.model_dump(exclude_none=True))
        try:
            async with asyncio.timeout(self.bots[bot]["deadline_seconds"]):
                answer = await response
        except TimeoutError:
            response.cancel()
            raise ApiError(504, "deadline_exceeded", f"{bot} did not answer in time") from None
        except asyncio.CancelledError:
            response.cancel()
            raise
        except BackPressureError:
            raise ApiError(503, "overloaded", f"{bot} is busy; try again", RETRY_SECONDS) from None
        except DeploymentUnavailableError:
            raise ApiError(503, "bot_unavailable", f"{bot} cannot be started", RETRY_SECONDS) from None
        if "error" in answer:
            raise ApiError(*answer["error"])
        return answer["choices"]
