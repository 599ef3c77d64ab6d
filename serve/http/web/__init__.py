"""The page: a gallery of bots to search, and for each bot a place to talk to it and share what it says.

    open http://127.0.0.1:8000

Plain files without a build step, everything from the gateway itself. The server fills in the head of a page (what a
shared link shows elsewhere) and draws pictures; static/*.js does the rest with the routes that everybody has. Nothing
here wakes a bot.
"""

import asyncio
import functools
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, Response
from fastapi.staticfiles import StaticFiles
from jinja2 import Environment, StrictUndefined

from pipeline.core import picture
from serve.engine.parameters import MAX_NEW_TOKENS
from serve.http import schema
from serve.http.schema import ApiError
from serve.http.web import key
from serve.http.web.signature import is_signed

STATIC = Path(__file__).parent / "static"
# nothing from elsewhere, nothing inline: a bot's words could not run as a script even if they got into the page
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; font-src 'self'; img-src 'self' blob:; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}
MAX_SAID_CHARS = 8 * MAX_NEW_TOKENS
_DRAWN = 128  # pictures that are kept, some 50 KB each
_drawing = asyncio.Semaphore(2)  # a gateway has other things to do
router = APIRouter(include_in_schema=False)
router.include_router(key.router)


class _Static(StaticFiles):
    def file_response(self, *arguments: Any, **options: Any) -> Response:
        reply = super().file_response(*arguments, **options)
        reply.headers["Cache-Control"] = "no-cache"  # asked for each time, sent where it changed
        reply.headers["X-Content-Type-Options"] = "nosniff"
        return reply


router.mount("/static", _Static(directory=STATIC), "static")


@router.get("/")
async def gallery(request: Request) -> HTMLResponse:
    about = "Small language models that each learned from one person’s tweets. Begin a sentence; they go on."
    return _page(request, title="huggingtweets: bots that learned from tweets", description=about)


@router.get("/b/{bot}")
async def bot_page(request: Request, bot: str, prompt: str = "", said: str = "", signature: str = "") -> HTMLResponse:
    """A bot's page; with a signed text, the page of what the bot said, which shows its picture where it is shared."""
    try:
        bot = await request.app.state.bots.known(bot)
    except ApiError:
        return _page(request, 404, title="huggingtweets", description="There is no such bot here.")
    about = request.app.state.bots.about(bot)
    title = f"{_title(about)} · {'AI cyborg' if len(about['handles']) > 1 else 'AI bot'}"
    given = {"prompt": prompt, "said": said, "signature": signature}
    if said and _signed(request, bot, **given):
        link = f"/bots/{bot}/card.png?{urlencode(given)}"
        return _page(request, title=title, description=prompt + said, image=link, said=given)
    learned = f"A language model that learned from {_title(about)}’s tweets. Begin a sentence; it goes on."
    return _page(request, title=title, description=learned, image=f"/bots/{bot}/card.png")


@router.get("/bots/{bot}/card.png")
async def card(request: Request, bot: str, prompt: str = "", said: str = "", signature: str = "") -> Response:
    """What a bot said, as a picture; only with the signature that came with the answer. Without a text, the bot's."""
    bot = await request.app.state.bots.known(bot)
    if said or prompt or signature:
        if not _signed(request, bot, prompt, said, signature):
            raise ApiError(403, "not_signed", "this is not what the bot said: the signature does not fit")
        samples: tuple[str, ...] = (prompt + said,)
    else:
        prompt, samples = "Begin a sentence", ()
    about, face = request.app.state.bots.about(bot), await request.app.state.bots.picture(bot, bot)
    async with _drawing:
        png = await asyncio.to_thread(_draw, tuple(about["handles"]), about["names"].get(bot), prompt, samples, face)
    return Response(png, media_type="image/png", headers={"Cache-Control": "private, max-age=86400"})


@router.get("/bots/{bot}/pictures/{handle}.png")
async def face(request: Request, bot: str, handle: str) -> Response:
    """The profile picture that came with a person's tweets."""
    bot = await request.app.state.bots.known(bot)
    png = await request.app.state.bots.picture(bot, handle)
    if png is None:
        raise ApiError(404, "not_found", "there is no such picture")
    return Response(png, media_type="image/png", headers={"Cache-Control": "private, max-age=3600"})


@functools.lru_cache(_DRAWN)
def _draw(
    handles: tuple[str, ...], name: str | None, prompt: str, samples: tuple[str, ...], face: bytes | None
) -> bytes:
    return picture.draw(list(handles), prompt, list(samples), name, face)


def _signed(request: Request, bot: str, prompt: str, said: str, signature: str) -> bool:
    fits = len(prompt) <= schema.MAX_PROMPT_CHARS and len(said) <= MAX_SAID_CHARS
    return fits and is_signed(request.app.state.bots.signing_key(bot), bot, prompt, said, signature)


def _title(about: dict[str, Any]) -> str:
    return " & ".join(about["names"].get(handle) or f"@{handle}" for handle in about["handles"])


def _page(request: Request, status: int = 200, image: str = "", said: Any = None, **head: str) -> HTMLResponse:
    origin = str(request.base_url).rstrip("/")
    text = _template().render(origin=origin, image=origin + image if image else "", said=said, **head)
    return HTMLResponse(text, status, HEADERS)


@functools.cache
def _template() -> Any:
    environment = Environment(undefined=StrictUndefined, trim_blocks=True, autoescape=True)
    return environment.from_string((STATIC.parent / "page.html.j2").read_text(encoding="utf-8"))
