"""Request bodies: read within a size limit and validated against a pydantic model.

    question = await read(request, TextGeneration)

A route reads its body itself, rather than FastAPI, so that the size is checked before it is in memory; `documented`
puts the model into the OpenAPI document all the same.
"""

import json
from typing import Any, TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError

from serve.http.errors import ApiError, explain

MAX_BODY_BYTES = 64 * 1024
REFERENCE = "#/components/schemas/{model}"
Form = TypeVar("Form", bound=BaseModel)


def documented(form: type[BaseModel]) -> dict[str, Any]:
    """The `openapi_extra` of a route whose body is this form."""
    content = {"application/json": {"schema": {"$ref": REFERENCE.format(model=form.__name__)}}}
    return {"requestBody": {"required": True, "content": content}}


async def read(request: Request, form: type[Form]) -> Form:
    """The body as this form. Raises ApiError 400, 413 or 422."""
    body = await read_bytes(request, MAX_BODY_BYTES)
    try:
        return form.model_validate(json.loads(body))
    except ValidationError as error:
        raise ApiError(422, "validation_error", explain(error)) from None
    except (ValueError, RecursionError):
        raise ApiError(400, "bad_request", 'the body is not JSON; send {"inputs": "My dream is"}') from None


async def read_bytes(request: Request, limit: int) -> bytes:
    """The body, of which no more than `limit` bytes are ever in memory. Raises ApiError 413."""
    too_large = ApiError(413, "too_large", f"the body exceeds {limit} bytes")
    length = request.headers.get("content-length", "0")
    if length.isdigit() and int(length[:18]) > limit:
        raise too_large
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise too_large
    return bytes(body)
