"""POST /v1/completions: OpenAI's completions form, whole or streamed."""

from collections.abc import AsyncGenerator

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from serve.engine.question import Part, Question
from serve.http import body
from serve.http.answers import Event, all_collected, logged, streamed
from serve.http.bots import ServedBots
from serve.http.errors import ApiError
from serve.http.forms.completions import Completion, Reply

router = APIRouter()


@router.post("/v1/completions", openapi_extra=body.documented(Completion))
async def complete(request: Request, bots: ServedBots) -> Response:
    """Continues each prompt `n` times."""
    form = await body.read(request, Completion)
    bot = await bots.known(form.model)
    reply = Reply(form, request.scope["request_id"])
    with_pieces = form.stream or form.logprobs is not None
    answers = [
        logged(request, bots, bot, bots.answer(bot, Question(prompt, form.parameters, form.logprobs, with_pieces)))
        for prompt in form.prompts
    ]
    if form.stream:
        return await streamed(_chunks(reply, answers), ApiError.body)
    return JSONResponse(reply.whole(await all_collected(answers)))


async def _chunks(reply: Reply, answers: list[AsyncGenerator[Part, None]]) -> AsyncGenerator[Event, None]:
    """One answer after the other, then the usage where it is asked for."""
    ends = []
    for number, parts in enumerate(answers):
        async for part in parts:
            for chunk in reply.chunks(number, part.get("pieces", [])):
                yield chunk
        ends.append(part)
    if reply.form.stream_options.include_usage:
        yield reply.last(ends)
    yield "[DONE]"
