"""The cluster that a command uses, and where its messages appear."""

import logging
import secrets
import subprocess
import sys
import threading

import ray
from ray._private.utils import publish_error_to_driver

from tests.support.toys import environment


def test_rays_messages_about_deaths_are_not_on_stdout(cluster, capfd):
    logged = threading.Event()
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: logged.set() if "a worker is gone" in record.getMessage() else None
    logger, level = logging.getLogger("ray"), logging.getLogger("ray").level
    logger.addHandler(handler)
    logger.setLevel(logging.WARNING)
    try:
        publish_error_to_driver("worker_died", "a worker is gone", ray._private.worker.global_worker.gcs_client)
        assert logged.wait(20)
    finally:
        logger.setLevel(level)
        logger.removeHandler(handler)
    assert "a worker is gone" not in capfd.readouterr().out


def test_another_users_cluster_is_named_at_once_and_without_rays_lines(cluster, tmp_path):
    token = tmp_path / "token"
    token.write_text(secrets.token_hex(16))
    program = "from pipeline.core import ray_session\ntry: ray_session.join()\nexcept Exception as error: print(error)"
    for own in ({"RAY_ADDRESS": cluster}, {"RAY_ADDRESS": "auto"}):
        variables = environment() | {"RAY_AUTH_TOKEN_PATH": str(token)} | own
        done = subprocess.run(
            [sys.executable, "-c", program], env=variables, capture_output=True, text=True, timeout=60
        )
        assert cluster in done.stdout and "it asks for another token" in done.stdout and done.stdout.count("\n") == 1
        assert done.stderr == ""
