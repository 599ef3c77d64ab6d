"""How a browser presents a key: a form that asks for it, and a cookie that carries it from then on.

The gateway answers a browser that has no valid key with `form`; what is entered there comes to POST /key, which keeps
it where scripts cannot read it and other sites' forms cannot use it. Whether the key is right is for the gateway to
say, at the page that the browser is sent back to.
"""

import base64
import hashlib
import re
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse
from jinja2 import Template

from serve.http.schema import ApiError

COOKIE = "huggingtweets_key"
_DAYS = 90
_MAX_BODY_BYTES = 8 * 1024
_KEY = re.compile(r"[!-~]{1,400}")
_TEXT = (Path(__file__).parent / "key.html.j2").read_text(encoding="utf-8")
_STYLE = re.search(r"<style>(.*?)</style>", _TEXT, re.DOTALL)
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
    """Asks for a key, to go back with it to the page that was asked for."""
    back = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    text = Template(_TEXT, autoescape=True).render(back=back, refused=COOKIE in request.cookies)
    return HTMLResponse(text, 401, _HEADERS)


@router.post("/key")
async def keep(request: Request) -> RedirectResponse:
    """Keeps the key that was entered in a cookie, and goes back."""
    origin = request.headers.get("origin")
    if origin and urlsplit(origin).netloc != request.headers.get("host"):
        raise ApiError(403, "forbidden", "a key is entered on this site only")
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _MAX_BODY_BYTES:
            raise ApiError(413, "too_large", f"the body exceeds {_MAX_BODY_BYTES} bytes")
    fields = parse_qs(body.decode("utf-8", "replace"))
    key, back = fields.get("key", [""])[0].strip(), fields.get("back", ["/"])[0]
    if not _KEY.fullmatch(key):
        key = "-"  # no key of ours
    if not re.fullmatch(r"/(?![/\\])[!-~]*", back):
        back = "/"  # nowhere but to a page of ours
    reply = RedirectResponse(back, 303)
    reply.set_cookie(
        COOKIE,
        key,
        max_age=_DAYS * 86400,
        httponly=True,
        # lax, not strict: a shared link that is followed from elsewhere carries it, another site's POST does not
        samesite="lax",
        secure=request.url.scheme == "https",
    )
    return reply
