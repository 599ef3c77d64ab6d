"""Log lines that say which fleet, bot and version they are about.

    log(fleet="politicians", bot="nasa", version="0123456789ab").info("trained in 3.2 s")

They are on the stderr of the process, which Ray keeps (`logs/worker-*.err`). RAY_LOGGING_CONFIG_ENCODING=JSON, Ray's
own switch, makes each of them a JSON object with these fields and Ray's (job, node, worker, actor); without it they
end in `fleet=politicians bot=nasa …`.
"""

import logging
import os
from collections.abc import MutableMapping
from functools import cache
from typing import Any


def log(**about: Any) -> "logging.LoggerAdapter[logging.Logger]":
    """The project's log, of lines about this: fleet, bot, version, lane …"""
    return _About(_logger(), about)


def as_json() -> bool:
    """Whether a command's lines are to be JSON; what runs in workers hears of it from its job."""
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
    logger.propagate = False  # Ray's own handlers would say it again
    return logger
