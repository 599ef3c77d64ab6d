"""The page: a gallery of bots to search, and for each bot a place to talk to it and share what it says.

    open http://127.0.0.1:8000

Plain files without a build step, everything from the gateway itself; a page is served without waking a bot.
"""

from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import HTMLResponse
from fastapi.staticfiles import StaticFiles

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
router = APIRouter(include_in_schema=False)
router.mount("/static", StaticFiles(directory=STATIC), "static")


@router.get("/")
async def gallery() -> HTMLResponse:
    return HTMLResponse((STATIC / "page.html").read_text(encoding="utf-8"), headers=HEADERS)
