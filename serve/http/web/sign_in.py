"""How a browser presents a key: a form to enter it, and a cookie that carries it from then on.

A browser without a valid key gets `form` from the gateway. The form posts the key to /key, which stores it in a cookie
that scripts cannot read and other sites' requests do not carry, and redirects to the page that was asked for. The guard
checks the key there.
"""

import base64
import hashlib
import re
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse

from pipeline.core.templates import render
from serve.http.body import read_bytes
from serve.http.errors import ApiError

COOKIE = "huggingtweets_key"
_DAYS = 90
_MAX_BODY_BYTES = 8 * 1024
_KEY = re.compile(r"[!-~]{1,400}")
_FORM = Path(__file__).parent / "sign_in.html.j2"
_STYLE = re.search(r"<style>(.*?)</style>", _FORM.read_text(encoding="utf-8"), re.DOTALL)
assert _STYLE
_HASH = base64.b64encode(hashlib.sha256(_STYLE[1].encode()).digest()).decode()
_HEADERS = {
    "Content-Security-Policy": (
        f"default-src 'none'; style-src 'sha256-{_HASH}'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
    "WWW-Authenticate": "Bearer",
}
router = APIRouter(include_in_schema=False)


def form(request: Request) -> HTMLResponse:
    """The page that asks for a key, and returns to the requested page with it."""
    back = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    text = render(_FORM, back=back, refused=COOKIE in request.cookies)
    return HTMLResponse(text, 401, _HEADERS)


@router.post("/key")
async def enter(request: Request) -> RedirectResponse:
    """Stores the key that was entered in a cookie and redirects back. Raises ApiError 403 for another site's form."""
    origin = request.headers.get("origin")
    if origin and urlsplit(origin).netloc != request.headers.get("host"):
        raise ApiError(403, "forbidden", "enter a key on this site's own page")
    fields = parse_qs((await read_bytes(request, _MAX_BODY_BYTES)).decode("utf-8", "replace"))
    key, back = fields.get("key", [""])[0].strip(), fields.get("back", ["/"])[0]
    if not _KEY.fullmatch(key):
        key = "-"  # cannot be a key, and is a valid cookie
    if not re.fullmatch(r"/(?![/\\])[!-~]*", back):
        back = "/"  # a path of this site, never another site
    reply = RedirectResponse(back, 303)
    reply.set_cookie(
        COOKIE,
        key,
        max_age=_DAYS * 86400,
        httponly=True,
        # lax, not strict: a shared link followed from another site carries it, another site's POST does not
        samesite="lax",
        secure=request.url.scheme == "https",
    )
    return reply
