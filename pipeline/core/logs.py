"""Log lines with the fleet, bot and version that they are about.

    log(fleet="politicians", bot="nasa", version="0123456789ab").info("trained in 3.2 s")

They are written to the process's stderr; Ray keeps the stderr of its workers in `logs/worker-*.err`. With Ray's
environment variable RAY_LOGGING_CONFIG_ENCODING=JSON each line is a JSON object that has these fields and Ray's own
(job, node, worker, actor); otherwise a line ends in `fleet=politicians bot=nasa …`.
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
    from pipeline.core.ray_internals import log_handler

    logger = logging.getLogger("huggingtweets")
    logger.addHandler(log_handler(as_json()))
    logger.setLevel(logging.INFO)
    logger.propagate = False  # Ray's own handlers would repeat each line
    return logger
