"""The page: a gallery of all bots, and for each bot a page to try it and to share its answers.

    http://127.0.0.1:8000/            # in a browser

The page is plain files without a build step, all served by the gateway. The server fills in the head of a page, which
other sites read to preview a link, and draws pictures; static/*.js does the rest through the public routes. No route
here wakes a bot.
"""

import asyncio
import functools
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, PlainTextResponse, Response
from fastapi.staticfiles import StaticFiles

from pipeline.core import picture
from pipeline.core.names import short_name
from pipeline.core.picture_marks import DIGITAL_SOURCE_TYPE, mark
from pipeline.core.templates import render
from serve.http.answers import AI_GENERATED
from serve.http.bots import Bots
from serve.http.errors import ApiError
from serve.http.public_facts import PublicBot, continuations, without_lead_in
from serve.http.web import sign_in
from serve.http.web.shared import SharedText

STATIC = Path(__file__).parent / "static"
_PAGE = Path(__file__).parent / "page.html.j2"
# nothing from other sites and nothing inline: a bot's text cannot run as a script, even if it got into the markup
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; font-src 'self'; img-src 'self' blob:; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}
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
    """Forbids search engines everything, or the API alone if a fleet has `serve.search_engines`.

    A page that they may read but not list says so itself (`noindex`).
    """
    forbidden = ("/bots/", "/v1/") if request.app.state.bots.search_engines() else ("/",)
    return PlainTextResponse("\n".join(["User-agent: *", *(f"Disallow: {path}" for path in forbidden), ""]))


def missing(request: Request) -> HTMLResponse:
    """The page for an address that does not exist."""
    return _page(request, 404, title="huggingtweets", description="There is no such page.")


@router.get("/b/{bot}")
async def bot_page(request: Request, bot: str) -> HTMLResponse:
    """A bot's page. With a signed answer it shows that answer, and a shared link to it shows its picture."""
    bots: Bots = request.app.state.bots
    try:
        bot = await bots.known(bot)
    except ApiError:
        return _page(request, 404, title="huggingtweets", description="No bot of this name is served here.")
    about = bots.about(bot)
    indexed = about.get("search_engines", False)
    title = f"{_title(about)} · {'AI cyborg' if len(about['handles']) > 1 else 'AI bot'}"
    image = f"/bots/{bot}/card.png"
    text = SharedText.in_query(bot, request.query_params)
    if text.answer and text.is_signed(bots):
        image += f"?{text.query}" if text.can_be_drawn else ""
        description = f"{text.opening} The bot wrote: “{text.shown.strip()}”".strip()
        return _page(request, title=title, description=description, image=image, answer=text, indexed=indexed)
    description = f"A language model trained on {_title(about)}’s tweets. Start a sentence and it continues."
    return _page(request, title=title, description=description, image=image, indexed=indexed)


@router.get("/bots/{bot}/card.png")
async def card(request: Request, bot: str) -> Response:
    """A bot's answer as a picture, if its signature is valid; without an answer, a picture of the bot.

    The picture of the bot shows what it wrote when it was measured, as predictions.png does. The metadata of an
    answer's picture has the answer's last part, whose prompt contains the other parts.
    """
    bots: Bots = request.app.state.bots
    bot = await bots.known(bot)
    marks: dict[str, str] = {}
    about, text = bots.about(bot), SharedText.in_query(bot, request.query_params)
    if text.prompt or text.said or text.signatures:
        if not text.is_signed(bots):
            raise ApiError(403, "not_signed", "the signature is not valid for this bot, prompt and answer")
        if not text.can_be_drawn:
            raise ApiError(403, "answer_too_short", "a picture needs an answer that is at least as long as its prompt")
        prompt, samples = text.prompt, [text.shown]
        *_, last = text.parts()
        marks = {"bot": bot, "prompt": last.prompt, "said": last.said, "signature": last.signature}
    else:
        prompt, written = continuations(about["metrics"])
        samples = [without_lead_in(one.removeprefix(prompt)) for one in written]
        prompt = prompt or "Start a sentence"
    person = short_name(bot)  # whose face and name are shown, unless it is a blend
    face = await bots.picture(bot, person)
    texts = tuple(prompt + one for one in samples)
    async with _drawing:
        png = await asyncio.to_thread(_draw, tuple(about["handles"]), about["names"].get(person), prompt, texts, face)
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


def _title(about: PublicBot) -> str:
    people = " & ".join(about["names"].get(handle) or f"@{handle}" for handle in about["handles"])
    return f"{people} ({about['fleet']})" if "@" in about["name"] else people


def _page(
    request: Request,
    status: int = 200,
    *,
    title: str,
    description: str,
    image: str = "",
    answer: SharedText | None = None,
    indexed: bool = False,
) -> HTMLResponse:
    """The page with this head; `indexed` says whether search engines may list it."""
    origin = str(request.base_url).rstrip("/")
    text = render(
        _PAGE,
        origin=origin,
        title=title,
        description=description,
        image=origin + image if image else "",
        answer=answer,
        source_type=DIGITAL_SOURCE_TYPE,
        indexed=indexed,
        signed_in=sign_in.COOKIE in request.cookies,
    )
    headers = HEADERS | (AI_GENERATED if answer else {}) | ({} if indexed else {"X-Robots-Tag": "noindex"})
    return HTMLResponse(text, status, headers)
