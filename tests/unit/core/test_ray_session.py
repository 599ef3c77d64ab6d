"""Where Ray keeps its files and its token: long temporary folders, and home folders that cannot be written."""

import os
import subprocess
import sys

import pytest

from pipeline.core import ray_session
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
