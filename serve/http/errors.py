"""Errors as clients get them: one JSON form on every route.

raise ApiError(404, "not_found", "no bot of this name is served")     # {"error": {"message", "type", "code"}}
"""

import re
from collections.abc import Mapping
from typing import Any, NotRequired, TypedDict

from pydantic import ValidationError
from starlette.responses import JSONResponse
from starlette.types import Scope

_BOT_PATH = re.compile(r"/bots/[^/]+")
_TGI_TYPES = {400: "validation", 422: "validation", 429: "overloaded", 503: "overloaded", 504: "generation"}


class ErrorFields(TypedDict):
    """What is wrong: a line for people, a name for programs, and the HTTP status."""

    message: str
    type: str
    code: int


class ErrorBody(TypedDict):
    """The JSON body of an error reply; `error_type` is the name that TGI has for it."""

    error: ErrorFields
    error_type: NotRequired[str]


class ApiError(Exception):
    """An error reply: `code` is the HTTP status, `type` a name for programs, `message` a line for people.

    `retry_after` is the number of seconds after which a second try may succeed.
    """

    def __init__(self, code: int, type: str, message: str, retry_after: int | None = None):
        super().__init__(message)
        self.code, self.type, self.message, self.retry_after = code, type, message, retry_after

    def __reduce__(self) -> Any:  # it crosses process borders
        return ApiError, (self.code, self.type, self.message, self.retry_after)

    def body(self) -> ErrorBody:
        """The JSON body of the reply."""
        return {"error": {"message": self.message, "type": self.type, "code": self.code}}

    def reply(self, scope: Scope) -> JSONResponse:
        """The reply to a request, with `Retry-After` where a second try may succeed.

        In the Hugging Face form `error_type` beside `error` is the name that TGI has for it, which its clients read.
        """
        headers = {"Retry-After": str(self.retry_after)} if self.retry_after else None
        body = self.body()
        if _asked_as_tgi(scope) and self.code in _TGI_TYPES:
            body["error_type"] = _TGI_TYPES[self.code]
        return JSONResponse(body, self.code, headers)

    def event(self, scope: Scope) -> Mapping[str, object]:
        """The error in the middle of a stream: in the Hugging Face form as TGI sends it."""
        return {"error": self.message, "error_type": self.type} if _asked_as_tgi(scope) else self.body()


def _asked_as_tgi(scope: Scope) -> bool:
    return scope["method"] == "POST" and _BOT_PATH.fullmatch(scope["path"]) is not None


def internal_error() -> ApiError:
    """The reply where something is wrong with the gateway itself; its log has the traceback."""
    return ApiError(500, "internal_error", "unexpected error; see the gateway's log for this request id")


def explain(error: ValidationError) -> str:
    """A validation error as one line: `parameters.top_p: Input should be …`. It repeats no values."""
    problems = []
    for item in error.errors(include_input=False, include_url=False):
        where = ".".join(_shown(part) for part in item["loc"]) or "body"
        reason = "unknown" if item["type"] == "extra_forbidden" else item["msg"].removeprefix("Value error, ")
        problems.append(f"{where}: {reason}")
    return "; ".join(problems)


def _shown(part: int | str) -> str:
    """A key as the client spelled it, fit for a message: short, on one line, valid Unicode."""
    return " ".join(str(part)[:40].split()).encode("utf-8", "backslashreplace").decode()
