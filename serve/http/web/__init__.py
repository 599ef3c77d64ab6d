"""The page: a gallery of all bots, and for each bot a page to try it and to share its answers.

    http://127.0.0.1:8000/            # in a browser

The page is plain files without a build step, all from the gateway itself. The server fills in the head of a page (which
is what a shared link shows elsewhere) and draws pictures; static/*.js does the rest through the public routes. Nothing
here wakes a bot.
"""

import asyncio
import functools
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, PlainTextResponse, Response
from fastapi.staticfiles import StaticFiles

from pipeline.core import picture
from pipeline.core.picture_marks import DIGITAL_SOURCE_TYPE, mark
from pipeline.core.templates import render
from serve.engine.parameters import MAX_NEW_TOKENS
from serve.http.answers import AI_GENERATED
from serve.http.bots import Bots
from serve.http.errors import ApiError
from serve.http.forms.text_generation import MAX_PROMPT_CHARS
from serve.http.public_facts import continuations
from serve.http.web import old_links, sign_in

STATIC = Path(__file__).parent / "static"
_PAGE = Path(__file__).parent / "page.html.j2"
# nothing from other sites and nothing inline: a bot's text could not run as a script even if it became markup
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
_CACHED_PICTURES = 128  # some 50 KB each
_drawing = asyncio.Semaphore(2)  # pictures drawn at a time
router = APIRouter(include_in_schema=False)
router.include_router(sign_in.router)


class _Static(StaticFiles):
    """The files under static/, with the headers that they need."""

    def file_response(self, *arguments: Any, **options: Any) -> Response:
        reply = super().file_response(*arguments, **options)
        reply.headers["Cache-Control"] = "no-cache"  # revalidated each time, sent only if it changed
        reply.headers["X-Content-Type-Options"] = "nosniff"
        return reply


router.mount("/static", _Static(directory=STATIC), "static")


@router.get("/")
@router.head("/")
async def gallery(request: Request) -> HTMLResponse:
    """The gallery of all bots."""
    description = "Small language models, each trained on one person’s tweets. Start a sentence and a bot continues it."
    indexed = request.app.state.bots.search_engines()
    title = "huggingtweets: bots that learned from tweets"
    return _page(request, title=title, description=description, indexed=indexed)


@router.get("/robots.txt")
async def robots(request: Request) -> PlainTextResponse:
    """What search engines may read: nothing, unless a fleet has `serve.search_engines`; its pages say the rest."""
    forbidden = ("/bots/", "/v1/") if request.app.state.bots.search_engines() else ("/",)
    return PlainTextResponse("\n".join(["User-agent: *", *(f"Disallow: {path}" for path in forbidden), ""]))


def missing(request: Request) -> HTMLResponse:
    """The page for an address that leads nowhere."""
    return _page(request, 404, title="huggingtweets", description="There is no such page.")


@router.get("/b/{bot}")
async def bot_page(request: Request, bot: str, prompt: str = "", said: str = "", signature: str = "") -> HTMLResponse:
    """A bot's page. With a signed answer it shows that answer, and a shared link to it shows its picture."""
    try:
        bot = await request.app.state.bots.known(bot)
    except ApiError:
        return _page(request, 404, title="huggingtweets", description="No bot of this name is served here.")
    about = request.app.state.bots.about(bot)
    indexed = about.get("search_engines", False)
    title = f"{_title(about)} · {'AI cyborg' if len(about['handles']) > 1 else 'AI bot'}"
    if said and _signed(request, bot, prompt, said, signature):
        query = urlencode({"prompt": prompt, "said": said, "signature": signature})
        answer = {"prompt": prompt, "opening": picture.opening(prompt), "answer": said, "signature": signature}
        image = f"/bots/{bot}/card.png?{query}" if can_be_drawn(prompt, said) else f"/bots/{bot}/card.png"
        description = f"{picture.opening(prompt)} The bot wrote: “{said.strip()}”".strip()
        return _page(request, title=title, description=description, image=image, answer=answer, indexed=indexed)
    description = f"A language model trained on {_title(about)}’s tweets. Start a sentence and it continues."
    return _page(request, title=title, description=description, image=f"/bots/{bot}/card.png", indexed=indexed)


@router.get("/bots/{bot}/card.png")
async def card(request: Request, bot: str, prompt: str = "", said: str = "", signature: str = "") -> Response:
    """A bot's answer as a picture, if its signature is valid; without an answer, a picture of the bot.

    That shows what the bot wrote when it was measured, as predictions.png does.
    """
    bot = await request.app.state.bots.known(bot)
    marks: dict[str, str] = {}
    about = request.app.state.bots.about(bot)
    if said or prompt or signature:
        if not _signed(request, bot, prompt, said, signature):
            raise ApiError(403, "not_signed", "the signature is not valid for this bot, prompt and answer")
        if not can_be_drawn(prompt, said):
            raise ApiError(403, "answer_too_short", "a picture needs an answer that is at least as long as its prompt")
        samples: tuple[str, ...] = (prompt + said,)
        marks = {"bot": bot, "prompt": prompt, "said": said, "signature": signature}
    else:
        prompt, samples = continuations(about["metrics"])
        prompt = prompt or "Start a sentence"
    face = await request.app.state.bots.picture(bot, bot)
    async with _drawing:
        png = await asyncio.to_thread(_draw, tuple(about["handles"]), about["names"].get(bot), prompt, samples, face)
    headers = AI_GENERATED | {"Cache-Control": "private, max-age=86400"}
    return Response(mark(png, **marks), media_type="image/png", headers=headers)


@router.get("/bots/{bot}/pictures/{handle}.png")
async def face(request: Request, bot: str, handle: str) -> Response:
    """The profile picture that came with a person's tweets."""
    bot = await request.app.state.bots.known(bot)
    png = await request.app.state.bots.picture(bot, handle)
    if png is None:
        raise ApiError(404, "not_found", "this bot has no such picture")
    return Response(png, media_type="image/png", headers={"Cache-Control": "private, max-age=3600"})


@functools.lru_cache(_CACHED_PICTURES)
def _draw(
    handles: tuple[str, ...], name: str | None, prompt: str, samples: tuple[str, ...], face: bytes | None
) -> bytes:
    return picture.draw(list(handles), prompt, list(samples), name, face)


def _signed(request: Request, bot: str, prompt: str, said: str, signature: str) -> bool:
    if len(prompt) > MAX_PROMPT_CHARS or len(said) > MAX_SAID_CHARS:
        return False
    bots: Bots = request.app.state.bots
    if bots.keyring(bot).check(bot, said, signature, prompt):
        return True
    return old_links.is_signed(bots.old_link_key(bot), bot, prompt, said, signature)


def can_be_drawn(prompt: str, answer: str) -> bool:
    """Whether at least half of the text is the bot's: a picture must not show a visitor's words as a bot's."""
    return bool(answer.strip()) and len(answer.strip()) >= len(prompt.strip())


def _title(about: dict[str, Any]) -> str:
    return " & ".join(about["names"].get(handle) or f"@{handle}" for handle in about["handles"])


def _page(
    request: Request, status: int = 200, image: str = "", answer: Any = None, indexed: bool = False, **head: str
) -> HTMLResponse:
    """The page with this head; `indexed` says whether search engines may list it."""
    origin = str(request.base_url).rstrip("/")
    picture_url = origin + image if image else ""
    options = {"image": picture_url, "answer": answer, "source_type": DIGITAL_SOURCE_TYPE, "indexed": indexed}
    text = render(_PAGE, origin=origin, **options, **head)
    headers = HEADERS | (AI_GENERATED if answer else {}) | ({} if indexed else {"X-Robots-Tag": "noindex"})
    return HTMLResponse(text, status, headers)
