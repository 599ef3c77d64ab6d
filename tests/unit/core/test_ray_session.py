"""Where Ray keeps its files and its token: long temporary folders, home folders that cannot be written, other users."""

import os
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from pipeline.core import ray_internals, ray_session
from pipeline.core.errors import UserError
from tests.support.toys import ROOT


@pytest.fixture
def no_token(monkeypatch):
    """A home folder in which nothing can be created, and no token elsewhere."""
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/proc")
    monkeypatch.setattr(ray_session.ray_internals, "has_token", lambda: False)


@pytest.mark.parametrize(
    "given, used", [("/tmp", None), ("/scratch/" + "x" * 30, None), ("/scratch/" + "x" * 81, "/tmp")]
)
def test_a_temporary_folder_that_is_too_long_for_sockets_is_not_used_by_ray(monkeypatch, given, used):
    monkeypatch.setenv("TMPDIR", given)
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    ray_session._shorten_ray_folder()
    assert os.environ.get("RAY_TMPDIR") == used
    monkeypatch.setenv("RAY_TMPDIR", "/of/the/user")
    ray_session._shorten_ray_folder()
    assert os.environ["RAY_TMPDIR"] == "/of/the/user"


def test_a_cluster_of_one_command_needs_no_home_folder(monkeypatch, no_token):
    monkeypatch.setenv("RAY_AUTH_TOKEN", "")
    ray_session._check_token(lasting=False)
    assert len(os.environ["RAY_AUTH_TOKEN"]) == 64


def test_a_head_that_stays_says_what_it_needs(no_token):
    with pytest.raises(UserError, match=r"/proc/\.ray cannot be written.*RAY_AUTH_TOKEN_PATH"):
        ray_session._check_token(lasting=True)


def test_a_home_folder_that_can_be_written_is_left_to_ray(monkeypatch, no_token, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    ray_session._check_token(lasting=True)
    assert "RAY_AUTH_TOKEN" not in os.environ


def test_rays_warning_about_its_token_is_not_printed(tmp_path):
    program = (
        "import logging; logging.basicConfig(); from pipeline.core import ray_internals; ray_internals.create_token()"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_AUTH")}
    command = [sys.executable, "-c", program]
    environment |= {"HOME": str(tmp_path)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (tmp_path / ".ray" / "auth_token").is_file()


class OtherToken(grpc.GenericRpcHandler):
    """Answers every call as Ray's control service does where the token is another one."""

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        def refuse(request: bytes, context: grpc.ServicerContext) -> bytes:
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "InvalidAuthToken")

        return grpc.unary_unary_rpc_method_handler(refuse)


@pytest.fixture
def found(monkeypatch):
    """Has commands find a cluster at an address, which asks for another token or, at port 0, never answers."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(ray_session.ray, "is_initialized", lambda: False)
    server = grpc.server(ThreadPoolExecutor(2), handlers=[OtherToken()])
    other = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        yield {"other token": other, "silent": f"127.0.0.1:{silent.getsockname()[1]}"}
    server.stop(None)


@pytest.mark.parametrize("given", [False, True])
@pytest.mark.parametrize(
    ("which", "expected"), [("other token", "asks for another token; set .*TOKEN_PATH"), ("silent", "just be ending")]
)
def test_a_cluster_that_takes_no_calls_is_one_clear_line_at_once(monkeypatch, found, which, expected, given):
    why = ray_internals.why_unreachable
    monkeypatch.setattr(ray_internals, "why_unreachable", lambda address: why(address, seconds=0.5))
    monkeypatch.setattr(ray_internals, "running_cluster", lambda: found[which])
    monkeypatch.setattr(ray_session, "_connect", lambda address: pytest.fail("ray.init would wait for minutes"))
    if given:
        monkeypatch.setenv("RAY_ADDRESS", found[which])
    began = time.monotonic()
    with pytest.raises(UserError, match=f"{found[which]}.*{expected}") as raised:
        ray_session.join()
    assert "\n" not in str(raised.value) and time.monotonic() - began < 5
    assert given or "RAY_TMPDIR" in str(raised.value)
