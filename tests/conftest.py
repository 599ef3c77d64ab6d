"""Fixtures for all tests: a Ray cluster with token auth, an S3 server, a toy base model, fleets of toy tweets."""

import json
import os
import secrets
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from tests.support.toys import ROOT, free_port, toy_base, tweets_of, write_csv

# Set before Ray is imported, which reads some of these only once: the tests have their own home folder, use no hub, no
# W&B account and no cluster but their own, which asks for a token, and compute with one thread, as our workers do. Ray
# finds a machine's cluster by a file in its temporary folder: each process of tests has one, and its own cluster.
HOME = Path(tempfile.mkdtemp(prefix="huggingtweets-tests-"))
(HOME / "ray-token").write_text(secrets.token_hex(16))
S3_PORT = free_port()
SECRET = "a-secret-of-the-process-that-starts-the-cluster"
# Python keeps our modules compiled, so that not each of some hundred processes compiles them again.
for _name in ("WANDB_API_KEY", "WANDB_MODE", "RAY_ADDRESS", "PYTHONDONTWRITEBYTECODE"):
    os.environ.pop(_name, None)
os.environ |= {
    "HOME": str(HOME),
    "RAY_TMPDIR": str(HOME),
    "HF_HUB_OFFLINE": "1",
    "OMP_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN_PATH": str(HOME / "ray-token"),
    "RAY_USAGE_STATS_ENABLED": "0",
    "PYTHONPATH": str(ROOT),
    "AWS_ENDPOINT_URL": f"http://127.0.0.1:{S3_PORT}",  # the fixture s3's
    "AWS_ACCESS_KEY_ID": "tests",
    "AWS_SECRET_ACCESS_KEY": "tests",
    "AWS_REGION": "us-east-1",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}
settings.register_profile("fuzz", max_examples=10_000)  # `make fuzz`


@pytest.fixture(scope="session")
def cluster() -> Iterator[str]:
    """A real Ray cluster, two cores wide, with dashboard and Jobs API; its address, also in RAY_ADDRESS."""
    import ray

    from pipeline.core import ray_session

    os.environ["X_BEARER_TOKEN"] = SECRET
    # ports of its own: a second process of tests has a cluster, too
    ports = ("dashboard-port", "dashboard-agent-listen-port", "ray-client-server-port")
    ray_session.start_head("--num-cpus=2", *(f"--{port}={free_port()}" for port in ports))
    del os.environ["X_BEARER_TOKEN"]
    os.environ["RAY_ADDRESS"] = ray.get_runtime_context().gcs_address
    yield os.environ["RAY_ADDRESS"]
    del os.environ["RAY_ADDRESS"]
    ray_session.stop_head()


@pytest.fixture(scope="session")
def s3() -> Iterator[Any]:
    """A real S3 server on loopback, the one that AWS_ENDPOINT_URL names."""
    from tests.support.s3 import S3Server

    server = S3Server(S3_PORT)
    yield server
    server.stop()


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base model folder: a GPT-2 of two layers with a byte-level BPE of its own, random weights."""
    return toy_base(tmp_path_factory.mktemp("base"))


@pytest.fixture
def make_fleet(tmp_path: Path, base: Path) -> Callable[..., Path]:
    """Writes toy tweets of these people and a fleet file for them; returns the file's path."""

    def make(people: tuple[str, ...] = ("ada", "ben"), name: str = "toys", **keys: Any) -> Path:
        for handle in people:
            write_csv(tmp_path / "tweets" / f"{handle}.csv", tweets_of(handle))
        fleet = {"fleet": name, "tweets": ["tweets/*.csv"], "base_model": str(base), "wandb": {"mode": "disabled"}}
        fleet["evaluate"] = {"samples": 16}
        path = tmp_path / f"{name}.yaml"
        path.write_text(json.dumps(fleet | keys))  # JSON is YAML
        return path

    return make


@pytest.fixture
def huggingtweets(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Runs a command in this process as a shell would; returns (exit code, stdout, stderr)."""

    def run(*arguments: object) -> tuple[int, str, str]:
        from pipeline.cli import main

        monkeypatch.setattr(sys, "argv", ["huggingtweets", *map(str, arguments)])
        code = 0
        try:
            main()
        except SystemExit as end:
            code = int(end.code or 0)
        out, err = capfd.readouterr()
        return code, out, err

    return run


@pytest.fixture(scope="session", autouse=True)
def _leave_nothing() -> Iterator[None]:
    yield
    shutil.rmtree(HOME, ignore_errors=True)
