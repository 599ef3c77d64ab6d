"""POST /bots/{bot}: the Hugging Face text-generation form, whole or streamed."""

from collections.abc import AsyncGenerator, AsyncIterator

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from serve.engine.question import Part, Question
from serve.http import body
from serve.http.answers import Event, collected, headers, logged, signing, streamed
from serve.http.bots import ServedBots
from serve.http.forms.text_generation import Stream, TextGeneration, whole

router = APIRouter()


@router.post("/bots/{bot}", openapi_extra=body.documented(TextGeneration))
async def generate(request: Request, bots: ServedBots, bot: str) -> Response:
    """Continues `inputs`. The reply's `X-Signature` has a signature for each text, separated by commas."""
    bot = await bots.known(bot)
    form = await body.read(request, TextGeneration)
    parameters = form.parameters.seeded() if form.parameters.details or form.stream else form.parameters
    with_pieces = form.stream or parameters.details
    parts = logged(request, bots, bot, bots.answer(bot, Question(form.inputs, parameters, pieces=with_pieces)))
    sign = signing(bots, bot)
    if form.stream:
        events = _events(Stream(form, parameters.seed, sign), parts)
        return await streamed(events, lambda error: error.event(request.scope))
    answer = await collected(parts)
    signatures = [sign(answer["version"], form.inputs, choice["text"]) for choice in answer["choices"]]
    return JSONResponse(whole(form, parameters.seed, answer), headers=headers(signatures))


async def _events(stream: Stream, parts: AsyncIterator[Part]) -> AsyncGenerator[Event, None]:
    async for part in parts:
        for event in stream.events(part):
            yield event
