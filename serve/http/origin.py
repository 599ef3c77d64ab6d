"""Which web pages may send requests: a browser sends them to this machine for any site that is open in it.

    check_post(request, ["https://example.org"])        # raises ApiError 403 for a POST from any other site's page
    check_host(request, host_name(request), [])         # … for evil.example that resolves to 127.0.0.1

Other programs are not affected: they send neither Origin nor Sec-Fetch-Site, and address the gateway by its own name.
"""

import ipaddress
from urllib.parse import urlsplit

from starlette.requests import Request

from serve.http.errors import ApiError

_OWN_SITE = ("same-origin", "none")  # none: the person typed the address


def check_post(request: Request, origins: list[str]) -> None:
    """Refuses a POST from a page of another site that is not one of these origins: ApiError 403.

    Browsers say with Sec-Fetch-Site where a request comes from; older ones, and all on plain HTTP, only with Origin.
    """
    given = request.headers.get("origin")
    if request.method != "POST" or given in origins:
        return
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        own = site in _OWN_SITE
    else:
        own = given is None or given.partition("://")[2] == request.headers.get("host")
    if not own:
        raise ApiError(403, "forbidden_origin", "pages of other sites must be listed in serve.cors_origins")


def host_name(request: Request) -> str:
    """The host in the Host header, without a port. Raises ApiError 400 if it is none."""
    try:
        return (urlsplit(f"//{request.headers.get('host', '')}").hostname or "").rstrip(".")
    except ValueError:
        raise ApiError(400, "bad_request", "the Host header is not valid") from None


def check_host(request: Request, host: str, origins: list[str]) -> None:
    """Refuses a request over loopback for any host but this machine or that of one of these origins: ApiError 403.

    A site can have its name resolve to 127.0.0.1 and then reads the replies as its own (DNS rebinding).
    """
    server = request.scope.get("server")
    if not server or not _is_loopback(server[0]):
        return
    allowed = {urlsplit(origin).hostname for origin in origins}
    if not _is_loopback(host) and host not in allowed:
        raise ApiError(403, "forbidden_host", "the Host header does not name this machine; set keys to allow it")


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
