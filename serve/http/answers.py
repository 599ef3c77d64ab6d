"""A bot's answer on its way to the client: noted in the access log, collected into one, or streamed as events.

parts = logged(request, bots, bot, bots.answer(bot, Question("My dream is")))
answer = await collected(parts)
"""

import asyncio
import functools
import json
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping
from contextlib import aclosing

from fastapi import Request
from fastapi.responses import Response, StreamingResponse

from serve.engine.question import Answer, Part, Piece
from serve.http.bots import Bots
from serve.http.errors import ApiError
from serve.http.forms import Sign

TOKENS_PER_REQUEST = 160  # that count as one request of a key; the longest answer unless more is asked for
Event = Mapping[str, object] | str  # the data of a server-sent event: JSON, or a text as it is
AI_GENERATED = {"X-AI-Generated": "true"}  # the header of every reply with a bot's words
_SIGNATURES = 16  # in a header, at most: 2 KB; proxies refuse a reply with headers of more than some 4 KB


def signing(bots: Bots, bot: str) -> Sign:
    """Signs the bot's answers with the key that is in use now: the bot may be removed while it answers."""
    return functools.partial(bots.keyring(bot).sign, bot)


def headers(signatures: list[str]) -> dict[str, str]:
    """The headers of a whole reply with these signatures, one for each text; "" for one that is empty."""
    return AI_GENERATED | ({"X-Signature": ",".join(signatures)} if len(signatures) <= _SIGNATURES else {})


async def logged(request: Request, bots: Bots, bot: str, parts: AsyncIterator[Part]) -> AsyncGenerator[Part, None]:
    """The same parts; the request's line in the access log gets the bot, its tokens and the time to the first one.

    Every TOKENS_PER_REQUEST tokens after the first ones count as another request of the key.
    """
    fields, began = request.scope["log_fields"], time.perf_counter()
    about = bots.about(bot)
    fields |= {"fleet": about["fleet"], "bot": bot, "version": about["version"]}
    pieces = tokens = 0
    try:
        async with aclosing(parts) as open_parts:  # type: ignore[type-var]
            async for part in open_parts:
                fields["version"] = (
                    part["version"] or fields["version"]
                )  # while a bot changes to another version, either may answer
                if "pieces" in part:
                    fields.setdefault("first_token_seconds", round(time.perf_counter() - began, 4))
                    pieces += len(part["pieces"])
                for choice in part.get("choices", ()):
                    tokens += choice["tokens"]
                    fields["tokens"] = fields.get("tokens", 0) + choice["tokens"]
                yield part
    finally:  # also where the client hangs up
        if "charge" in request.scope:
            request.scope["charge"](max(0.0, max(pieces, tokens) / TOKENS_PER_REQUEST - 1))


async def collected(parts: AsyncIterator[Part]) -> Answer:
    """The whole answer; where pieces were asked for, each choice has its own."""
    pieces: dict[int, list[Piece]] = {}
    async for part in parts:
        for piece in part.get("pieces", ()):
            pieces.setdefault(piece["index"], []).append(piece)
    choices = part["choices"]
    for index, choice in enumerate(choices):
        choice["pieces"] = pieces.get(index, [])
    return {"prompt_tokens": part["prompt_tokens"], "version": part["version"], "choices": choices}


async def all_collected(answers: Iterable[AsyncIterator[Part]], at_once: int) -> list[Answer]:
    """The whole answers, of which `at_once` are generated at a time. If one fails the others are stopped."""
    turn = asyncio.Semaphore(at_once)

    async def collect_in_turn(parts: AsyncIterator[Part]) -> Answer:
        async with turn:
            return await collected(parts)

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(collect_in_turn(parts)) for parts in answers]
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [task.result() for task in tasks]


async def streamed(events: AsyncGenerator[Event, None], error_event: Callable[[ApiError], Event]) -> Response:
    """A reply of server-sent events.

    An error before the first event is raised, so that the reply has its status; a later one becomes an event.
    """
    first = await anext(events)

    async def lines() -> AsyncIterator[str]:
        async with aclosing(events):
            yield _line(first)
            try:
                async for event in events:
                    yield _line(event)
            except ApiError as error:
                yield _line(error_event(error))

    return StreamingResponse(
        lines(), media_type="text/event-stream", headers=AI_GENERATED | {"Cache-Control": "no-cache"}
    )


def _line(event: Event) -> str:
    return f"data: {event if isinstance(event, str) else json.dumps(event, ensure_ascii=False)}\n\n"
