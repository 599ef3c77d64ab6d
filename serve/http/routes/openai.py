"""POST /v1/completions and /v1/chat/completions: OpenAI's forms, whole or streamed.

Both also answer below a bot's own address, /bots/{bot}/v1/…, as TGI does: clients that are given the address of one
model (huggingface_hub's chat, the Hugging Face JavaScript client) ask there, and the path names the bot, not `model`.
"""

from collections.abc import AsyncGenerator

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from serve.engine.parameters import MAX_CHOICES
from serve.engine.question import Part, Question
from serve.http import body
from serve.http.answers import Event, all_collected, collected, headers, logged, signing, streamed
from serve.http.bots import Bots, ServedBots
from serve.http.errors import ApiError
from serve.http.forms.chat import Chat, ChatCompletion, ChatReply
from serve.http.forms.completions import Completion, CompletionReply, Reply

router = APIRouter()


@router.post("/v1/completions", openapi_extra=body.documented(Completion))
@router.post("/bots/{bot}/v1/completions", openapi_extra=body.documented(Completion), include_in_schema=False)
async def complete(request: Request, bots: ServedBots, bot: str = "") -> Response:
    """Continues each prompt `n` times."""
    form = await body.read(request, Completion)
    bot = await _bot(bots, bot, form.model)
    reply = Reply(form, bot, request.scope["request_id"], signing(bots, bot))
    answers = [logged(request, bots, bot, bots.answer(bot, question)) for question in form.questions()]
    if form.stream:
        return await streamed(_chunks(reply, answers), ApiError.body)
    return _signed(reply.whole(await all_collected(answers, at_once=max(1, MAX_CHOICES // form.n))))


@router.post("/v1/chat/completions", openapi_extra=body.documented(Chat))
@router.post("/bots/{bot}/v1/chat/completions", openapi_extra=body.documented(Chat), include_in_schema=False)
async def chat(request: Request, bots: ServedBots, bot: str = "") -> Response:
    """Continues the last message of the user `n` times."""
    form = await body.read(request, Chat)
    bot = await _bot(bots, bot, form.model)
    reply = ChatReply(form, bot, request.scope["request_id"], signing(bots, bot))
    logprobs = (form.top_logprobs or 0) if form.logprobs else None
    question = Question(form.prompt, form.parameters, logprobs, form.stream or form.logprobs)
    parts = logged(request, bots, bot, bots.answer(bot, question))
    if form.stream:
        return await streamed(_chat_chunks(reply, parts), ApiError.body)
    return _signed(reply.whole(await collected(parts)))


def _signed(reply: ChatCompletion | CompletionReply) -> JSONResponse:
    return JSONResponse(reply, headers=headers([choice["signature"] for choice in reply["choices"]]))


async def _bot(bots: Bots, in_path: str, model: str) -> str:
    """The bot that is asked for, with or without an @ before it. Raises ApiError 404 or 422."""
    name = in_path or model.removeprefix("@")
    if not name:
        raise ApiError(422, "validation_error", "model: must name a bot; GET /v1/models lists them")
    return await bots.known(name)


async def _chunks(reply: Reply, answers: list[AsyncGenerator[Part, None]]) -> AsyncGenerator[Event, None]:
    """One answer after the other, then the usage where it is asked for."""
    ends = []
    for number, parts in enumerate(answers):
        async for part in parts:
            for chunk in reply.chunks(number, part):
                yield chunk
        ends.append(part)
    if reply.form.stream_options.include_usage:
        yield reply.last(ends)
    yield "[DONE]"


async def _chat_chunks(reply: ChatReply, parts: AsyncGenerator[Part, None]) -> AsyncGenerator[Event, None]:
    """The chunks of the answer, then the usage where it is asked for."""
    begun = False
    async for part in parts:
        for chunk in [*(() if begun else reply.first()), *reply.chunks(part)]:
            yield chunk
        begun = True
    if reply.form.stream_options.include_usage:
        yield reply.last(part)
    yield "[DONE]"
