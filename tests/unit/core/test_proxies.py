"""An HTTP proxy in the environment is for calls to the outside."""

import http.server
import threading
import urllib.request

import pytest

from pipeline.core.proxies import bypass_proxies, open_directly


@pytest.fixture
def address(monkeypatch):
    """A server on loopback, in an environment whose proxy does not answer."""
    for name in ("no_proxy", "NO_PROXY", "no_grpc_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setattr(urllib.request, "_opener", None)  # it keeps the proxies of the process's first call
    server = http.server.HTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


def test_a_call_within_the_cluster_goes_past_the_proxy(address):
    with pytest.raises(OSError):
        urllib.request.urlopen(address, timeout=5)  # by the proxy
    with open_directly(address, timeout=5) as reply:
        assert reply.status == 200


def test_this_machine_is_added_to_what_others_excepted(address, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "lab.example,127.0.0.1")
    bypass_proxies()
    with urllib.request.urlopen(address, timeout=5) as reply:
        assert reply.status == 200
    environment = urllib.request.getproxies_environment()
    assert environment["no"] == "lab.example,127.0.0.1,localhost,::1"
    assert environment["http"] == "http://127.0.0.1:9"  # the outside is still reached through it
