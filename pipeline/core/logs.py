"""Log lines with the fleet, bot and version that they are about.

    log(fleet="politicians", bot="nasa", version="0123456789ab").info("trained in 3.2 s")

They go to the process's stderr; Ray keeps that of its workers in `logs/worker-*.err`. With Ray's environment variable
RAY_LOGGING_CONFIG_ENCODING=JSON each line is a JSON object that has these fields and Ray's own (job, node, worker,
actor); otherwise a line ends in `fleet=politicians bot=nasa …`.
"""

import logging
import os
from collections.abc import MutableMapping
from functools import cache
from typing import Any


def log(**about: Any) -> "logging.LoggerAdapter[logging.Logger]":
    """Returns a logger whose lines carry these fields: fleet, bot, version, lane …"""
    return _About(_logger(), about)


def as_json() -> bool:
    """Whether this command writes its lines as JSON. Workers learn it from the Ray job's configuration."""
    return os.environ.get("RAY_LOGGING_CONFIG_ENCODING") == "JSON"


class _About(logging.LoggerAdapter):
    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        return msg, {**kwargs, "extra": self.extra}


@cache
def _logger() -> logging.Logger:
    from ray._common.filters import CoreContextFilter
    from ray._common.formatters import JSONFormatter, TextFormatter
    from ray._private.worker import global_worker

    job = global_worker.job_logging_config if global_worker.connected else None
    handler = logging.StreamHandler()
    if as_json() or (job and job.encoding == "JSON"):
        handler.setFormatter(JSONFormatter())
        handler.addFilter(CoreContextFilter())
    else:
        handler.setFormatter(TextFormatter())
    logger = logging.getLogger("huggingtweets")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False  # Ray's own handlers would repeat each line
    return logger
