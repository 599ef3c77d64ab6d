"""The HTTP routes: what may be asked, checked against the limits of schema.py, and the form of each reply.

    app = build(bots)               # an ASGI application, given something that knows the bots and can ask them

Nothing here knows Ray: `bots` (the gateway) has a table of what is served and says what a bot says, piece by
piece. A list, a 404 or a bad request is answered from the table and wakes nobody.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any, Protocol, TypeVar

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from pydantic import BaseModel, ValidationError
from pydantic.json_schema import models_json_schema
from starlette.exceptions import HTTPException

from serve.engine.parameters import Parameters
from serve.http import openai, schema, tgi, web
from serve.http.openai import Completion
from serve.http.schema import ApiError, TextGeneration
from serve.http.web.signature import sign

M = TypeVar("M", bound=BaseModel)
Part = dict[str, Any]  # {"pieces", "prompt_tokens"} as they come, then {"choices", "prompt_tokens"}


class Bots(Protocol):
    """What the routes need of a gateway."""

    def names(self) -> list[str]: ...

    def about(self, name: str) -> dict[str, Any]: ...

    def signing_key(self, bot: str) -> bytes: ...

    async def picture(self, bot: str, handle: str) -> bytes | None: ...

    async def known(self, name: str) -> str: ...

    async def metrics_text(self) -> str: ...

    def say(
        self, bot: str, prompt: str, parameters: Parameters, logprobs: int | None = None, pieces: bool = False
    ) -> AsyncIterator[Part]: ...


def build(bots: Bots) -> FastAPI:
    app = FastAPI(title="huggingtweets", docs_url=None, redoc_url=None)
    app.state.bots = bots
    app.add_exception_handler(ApiError, _api_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.include_router(web.router)

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/metrics", response_class=PlainTextResponse)
    async def metrics() -> str:
        """Prometheus' text format."""
        return await bots.metrics_text()

    @app.get("/bots")
    async def list_bots(q: str = "", limit: str = "100", cursor: str = "") -> dict[str, Any]:
        """A page of bots whose name holds `q`, sorted by name; `next` is the following page's cursor."""
        if not limit.isascii() or not limit.isdigit() or not 1 <= int(limit[:9]) <= schema.MAX_PAGE:
            raise ApiError(422, "validation_error", f"limit: a number from 1 to {schema.MAX_PAGE}")
        wanted = q.strip().removeprefix("@").lower()
        names = [name for name in bots.names() if wanted in name and name > cursor]
        page = names[: int(limit)]
        more = page[-1] if len(names) > len(page) else None
        return {"bots": [bots.about(name) for name in page], "next": more, "total": len(bots.names())}

    @app.get("/bots/{bot}")
    async def about(bot: str) -> dict[str, Any]:
        return bots.about(await bots.known(bot))

    @app.post("/bots/{bot}", openapi_extra=_body(TextGeneration))
    async def generate(bot: str, request: Request) -> Response:
        """The Hugging Face text-generation form."""
        bot = await bots.known(bot)
        asked = await _read(request, TextGeneration)
        parameters = asked.parameters.seeded() if asked.parameters.details or asked.stream else asked.parameters
        details = asked.stream or parameters.details
        parts = _told(request, bot, bots.say(bot, asked.inputs, parameters, pieces=details))
        key = bots.signing_key(bot)  # now: when it has answered, the bot may be gone

        def signature(said: str) -> str:  # with it, the page draws a picture of what was said
            return sign(key, bot, asked.inputs, said)

        if not asked.stream:
            answer = await _collected(parts)
            signatures = ",".join(signature(choice["text"]) for choice in answer["choices"])
            return JSONResponse(tgi.whole(asked, parameters.seed, answer), headers={"X-Signature": signatures})
        stream = tgi.Stream(asked, parameters.seed, signature)

        async def events() -> AsyncIterator[dict[str, Any]]:
            async for part in parts:
                for event in stream.events(part.get("pieces", ()), part["prompt_tokens"]):
                    yield event

        return await _streamed(events(), lambda error: {"error": error.message, "error_type": error.type})

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        return {"object": "list", "data": [_model(bots.about(name)) for name in bots.names()]}

    @app.get("/v1/models/{bot}")
    async def model(bot: str) -> dict[str, Any]:
        return _model(bots.about(await bots.known(bot)))

    @app.post("/v1/completions", openapi_extra=_body(Completion))
    async def completions(request: Request) -> Response:
        """OpenAI's completions form."""
        asked = await _read(request, Completion)
        bot = await bots.known(asked.model)
        reply = openai.Reply(asked, request.scope["request_id"])
        pieces = asked.stream or asked.logprobs is not None
        answers = [
            _told(request, bot, bots.say(bot, prompt, asked.parameters, asked.logprobs, pieces))
            for prompt in asked.prompts
        ]
        if not asked.stream:
            return JSONResponse(reply.whole(await _all_collected(answers)))

        async def chunks() -> AsyncIterator[dict[str, Any] | str]:
            ends = []
            for number, (prompt, parts) in enumerate(zip(asked.prompts, answers, strict=True)):
                async for part in parts:
                    for chunk in reply.chunks(number, prompt, part.get("pieces", ())):
                        yield chunk
                ends.append(part)
            if asked.stream_options.include_usage:
                yield reply.last(ends)
            yield "[DONE]"

        return await _streamed(chunks(), ApiError.body)

    def openapi() -> dict[str, Any]:
        if not app.openapi_schema:
            document = FastAPI.openapi(app)
            _, models = models_json_schema(
                [(TextGeneration, "validation"), (Completion, "validation")], ref_template=_REFERENCE
            )
            document.setdefault("components", {}).setdefault("schemas", {}).update(models["$defs"])
        return app.openapi_schema or document

    app.openapi = openapi  # type: ignore[method-assign]
    return app


_REFERENCE = "#/components/schemas/{model}"


def _body(model: type[BaseModel]) -> dict[str, Any]:
    """Documents a body that the route reads itself, so that its size is checked before it is in memory."""
    content = {"application/json": {"schema": {"$ref": _REFERENCE.format(model=model.__name__)}}}
    return {"requestBody": {"required": True, "content": content}}


async def _api_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return error_reply(error)


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    kind = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "bad_request")
    reply = error_reply(ApiError(error.status_code, kind, str(error.detail)))
    reply.headers.update(error.headers or {})
    return reply


def error_reply(error: ApiError) -> Response:
    headers = {"Retry-After": str(error.retry_after)} if error.retry_after else None
    return JSONResponse(error.body(), error.code, headers)


async def _read(request: Request, model: type[M]) -> M:
    """The body, validated; never more than MAX_BODY_BYTES of it in memory."""
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
        return model.model_validate(json.loads(body))
    except ValidationError as error:
        raise ApiError(422, "validation_error", schema.explain(error)) from None
    except (ValueError, RecursionError):
        raise ApiError(400, "bad_request", 'the body is not JSON; send {"inputs": "My dream is"}') from None


async def _told(request: Request, bot: str, parts: AsyncIterator[Part]) -> AsyncIterator[Part]:
    """The parts of an answer, told to the access log as they pass."""
    told, began = request.scope["told"], time.perf_counter()
    about = request.app.state.bots.about(bot)
    told |= {"fleet": about["fleet"], "bot": bot, "version": about["version"]}
    async with aclosing(parts) as open_parts:  # type: ignore[type-var]
        async for part in open_parts:
            if "pieces" in part:
                told.setdefault("first_token_seconds", round(time.perf_counter() - began, 4))
            for choice in part.get("choices", ()):
                told["tokens"] = told.get("tokens", 0) + choice["tokens"]
            yield part


async def _collected(parts: AsyncIterator[Part]) -> Part:
    """The whole answer; where pieces came, each choice with its own."""
    pieces: dict[int, list[dict[str, Any]]] = {}
    part: Part = {}
    async for part in parts:
        for piece in part.get("pieces", ()):
            pieces.setdefault(piece["index"], []).append(piece)
    choices = [choice | {"pieces": pieces.get(i, [])} for i, choice in enumerate(part["choices"])]
    return part | {"choices": choices}


async def _all_collected(answers: list[AsyncIterator[Part]]) -> list[Part]:
    """All answers, asked for at once; where one fails the others are stopped."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(_collected(parts)) for parts in answers]
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [task.result() for task in tasks]


async def _streamed(events: AsyncIterator[dict[str, Any] | str], told: Any) -> Response:
    """Server-sent events. What goes wrong before the first one is an error of its own, later an event.

    `told` makes the event of an ApiError.
    """
    first = await anext(events)

    async def lines() -> AsyncIterator[str]:
        yield _event(first)
        try:
            async for event in events:
                yield _event(event)
        except ApiError as error:
            yield _event(told(error))
        finally:
            await events.aclose()  # type: ignore[attr-defined]

    return StreamingResponse(lines(), media_type="text/event-stream", headers={"Cache-Control": "no-cache"})


def _event(data: dict[str, Any] | str) -> str:
    return f"data: {data if isinstance(data, str) else json.dumps(data, ensure_ascii=False)}\n\n"


def _model(about: dict[str, Any]) -> dict[str, Any]:
    return {"id": about["name"], "object": "model", "created": about["since"], "owned_by": about["fleet"]}
