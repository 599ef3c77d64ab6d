"""The cluster that a command uses, and where its messages appear."""

import logging
import threading

import ray
from ray._private.utils import publish_error_to_driver


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
