"""How a browser presents a key: a form to enter it, and a cookie with a session from then on.

A browser without a valid key gets `form` from the gateway. The form posts the key to /key, which begins a session and
redirects to the page that was asked for; the guard checks it there. /sign-out removes the cookie. The cookie holds a
value derived from the key and not the key, because browsers send cookies to every port of a host. Scripts cannot read
it, and other sites' requests do not carry it.
"""

import base64
import hashlib
import re
from pathlib import Path
from urllib.parse import parse_qs

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse

from pipeline.core.templates import render
from serve.http import keys
from serve.http.errors import ApiError

COOKIE = "huggingtweets_session"
_MAX_BODY_BYTES = 8 * 1024
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
async def begin_session(request: Request) -> RedirectResponse:
    """Begins a session with the key that was entered and redirects back."""
    body = await request.body()
    if len(body) > _MAX_BODY_BYTES:
        raise ApiError(413, "too_large", f"the body exceeds {_MAX_BODY_BYTES} bytes")
    fields = parse_qs(body.decode("utf-8", "replace"))
    key, back = fields.get("key", [""])[0].strip(), fields.get("back", ["/"])[0]
    if not re.fullmatch(r"/(?![/\\])[!-~]*", back):
        back = "/"  # a path of this site, never another site
    reply = RedirectResponse(back, 303)
    reply.set_cookie(
        COOKIE,
        keys.session(key),
        max_age=keys.SESSION_SECONDS,
        httponly=True,
        # lax, not strict: a shared link followed from another site carries it, another site's POST does not
        samesite="lax",
        secure=request.url.scheme == "https",
    )
    return reply


@router.post("/sign-out")
async def end_session() -> RedirectResponse:
    """Ends the session in this browser; the key itself stays valid."""
    reply = RedirectResponse("/", 303)
    reply.delete_cookie(COOKIE)
    return reply
