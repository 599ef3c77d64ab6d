"""Calls within this machine and its cluster never go through an HTTP proxy, whatever `http_proxy` says.

    bypass_proxies()                                  # for this process and those that it starts
    with open_directly("http://127.0.0.1:8000/bots", timeout=2.0) as reply: ...

Proxies of universities and companies cannot reach these addresses. Calls to the outside (the hub, W&B, X) still use
the proxy.
"""

import os
import urllib.request
from typing import Any

_LOCAL = ("localhost", "127.0.0.1", "::1")
# gRPC connects only Ray's own processes, on any address; without this it would use `http_proxy`.
NO_GRPC_PROXY = "localhost,0.0.0.0/0,::/0"
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def bypass_proxies() -> None:
    """Adds this machine to `no_proxy`, and every address to gRPC's; child processes inherit both."""
    listed = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    names = [name for name in listed.split(",") if name]
    names += [name for name in _LOCAL if name not in names]
    os.environ |= {"no_proxy": ",".join(names), "NO_PROXY": ",".join(names), "no_grpc_proxy": NO_GRPC_PROXY}


def open_directly(request: str | urllib.request.Request, timeout: float) -> Any:
    """`urllib.request.urlopen` without a proxy: for addresses of this machine or its cluster."""
    return _DIRECT.open(request, timeout=timeout)
