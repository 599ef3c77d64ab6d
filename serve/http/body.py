"""Request bodies: read within limits of size and time, then validated against a pydantic model.

    receive = await receive_whole(request.headers, receive)      # by the guard, for every POST
    form = await read(request, TextGeneration)                   # by a route

Routes validate their bodies themselves, so that an error has our form; `documented` puts the model into the OpenAPI
document all the same.
"""

import asyncio
import json
from typing import Any, ClassVar, Protocol, Self, TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError
from starlette.datastructures import Headers
from starlette.types import Message, Receive

from serve.http.errors import ApiError, explain

MAX_BODY_BYTES = 64 * 1024
READ_SECONDS = 5.0  # for a whole body
_TOO_LARGE = ApiError(413, "too_large", f"the body exceeds {MAX_BODY_BYTES} bytes")
REFERENCE = "#/components/schemas/{model}"


class JsonForm(Protocol):
    """A pydantic model with an example, which the error shows that a body without JSON gets."""

    EXAMPLE: ClassVar[str]

    @classmethod
    def model_validate(cls, obj: Any) -> Self:
        """The value as this form. Raises ValidationError."""


Form = TypeVar("Form", bound=JsonForm)


def documented(form: type[BaseModel]) -> dict[str, Any]:
    """The `openapi_extra` of a route whose body is this form."""
    content = {"application/json": {"schema": {"$ref": REFERENCE.format(model=form.__name__)}}}
    return {"requestBody": {"required": True, "content": content}}


async def read(request: Request, form: type[Form]) -> Form:
    """The body as this form. Raises ApiError 400 or 422."""
    try:
        return form.model_validate(json.loads(await request.body()))
    except ValidationError as error:
        raise ApiError(422, "validation_error", explain(error)) from None
    except (ValueError, RecursionError):
        raise ApiError(400, "bad_request", f"the body is not JSON; send {form.EXAMPLE}") from None


async def receive_whole(headers: Headers, receive: Receive) -> Receive:
    """Reads a request's body and returns a `receive` that begins with all of it.

    Raises ApiError 408 if the body takes more than READ_SECONDS, 413 over MAX_BODY_BYTES, 415 if it is compressed, and
    400 if the client hangs up meanwhile.
    """
    if headers.get("content-encoding", "identity").lower() != "identity":
        raise ApiError(415, "unsupported_encoding", "send the body uncompressed, without Content-Encoding")
    length = headers.get("content-length", "0")
    if length.isdigit() and int(length[:18]) > MAX_BODY_BYTES:
        raise _TOO_LARGE
    try:
        async with asyncio.timeout(READ_SECONDS):
            body = await _body(receive)
    except TimeoutError:
        raise ApiError(408, "request_timeout", f"the body did not arrive within {READ_SECONDS} seconds") from None
    waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive_body_first() -> Message:
        return waiting.pop() if waiting else await receive()

    return receive_body_first


async def _body(receive: Receive) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ApiError(400, "bad_request", "the body ended early")
        body += message.get("body", b"")
        if len(body) > MAX_BODY_BYTES:
            raise _TOO_LARGE
        if not message.get("more_body"):
            return bytes(body)
