"""The access log: a JSON line for each request, on the gateway's stdout, which Ray keeps in its logs folder.

    AccessLog().write(scope, status=200, seconds=0.1)

Routes add what they know about a request to `scope["log_fields"]`.
"""

import json
import logging
import sys
import time

from starlette.types import Scope

_MAX_PATH = 200  # characters of a path in a line
_TEXT_FIELDS = ("fleet", "bot", "version", "tokens", "first_token_seconds")  # of a request for text


class AccessLog:
    """Writes the lines of one gateway."""

    def __init__(self) -> None:
        self._logger = logging.getLogger("huggingtweets.access")
        if not self._logger.handlers:
            handler = logging.StreamHandler(sys.stdout)
            handler.setFormatter(logging.Formatter("%(message)s"))
            self._logger.addHandler(handler)
            self._logger.setLevel(logging.INFO)
            self._logger.propagate = False

    def write(self, scope: Scope, status: int, seconds: float) -> None:
        """The line of a finished request; status 0 means that the client left before a reply began."""
        fields = scope["log_fields"]
        line = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "request_id": scope["request_id"],
            "client": (scope.get("client") or [None])[0],
            "key": fields.get("key"),
            "method": scope["method"][:10],
            "path": scope["path"][:_MAX_PATH],
            "status": status or 499,
            "seconds": round(seconds, 4),
        }
        self._logger.info(json.dumps(line | {name: fields[name] for name in _TEXT_FIELDS if name in fields}))
