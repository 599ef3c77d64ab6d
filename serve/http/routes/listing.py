"""What is served: the gateway's health and metrics, lists of bots in our form and in OpenAI's."""

from typing import Any

from fastapi import APIRouter
from fastapi.responses import PlainTextResponse

from serve.http.bots import ServedBots
from serve.http.errors import ApiError

MAX_PAGE = 1_000  # bots in one page of GET /bots
router = APIRouter()


@router.get("/health")
@router.head("/health", include_in_schema=False)
async def health() -> dict[str, str]:
    """Whether the gateway answers."""
    return {"status": "ok"}


@router.get("/metrics", response_class=PlainTextResponse)
async def metrics(bots: ServedBots) -> str:
    """The metrics of all gateways in Prometheus' text format."""
    return await bots.metrics_text()


@router.get("/bots")
async def list_bots(bots: ServedBots, q: str = "", limit: str = "100", cursor: str = "") -> dict[str, Any]:
    """A page of bots whose name contains `q`, sorted by name; `next` is the following page's cursor."""
    size = _page_size(limit)
    wanted = q.strip().removeprefix("@").lower()
    names = [name for name in bots.names() if wanted in name and name > cursor]
    page = names[:size]
    following = page[-1] if len(names) > len(page) else None
    return {"bots": [bots.about(name) for name in page], "next": following, "total": len(bots.names())}


@router.get("/bots/{bot}")
async def describe(bots: ServedBots, bot: str) -> dict[str, Any]:
    """One bot."""
    return bots.about(await bots.known(bot))


@router.get("/v1/models")
async def list_models(bots: ServedBots) -> dict[str, Any]:
    """All bots, as OpenAI lists models."""
    return {"object": "list", "data": [_model(bots.about(name)) for name in bots.names()]}


@router.get("/v1/models/{bot}")
async def describe_model(bots: ServedBots, bot: str) -> dict[str, Any]:
    """One bot, as OpenAI describes a model."""
    return _model(bots.about(await bots.known(bot.removeprefix("@"))))


def _page_size(limit: str) -> int:
    """The number in the query's `limit`, whose digits are few before they are read. Raises ApiError 422."""
    if limit.isascii() and limit.isdigit() and len(limit) <= len(str(MAX_PAGE)) and 1 <= int(limit) <= MAX_PAGE:
        return int(limit)
    raise ApiError(422, "validation_error", f"limit: must be a number from 1 to {MAX_PAGE}")


def _model(about: dict[str, Any]) -> dict[str, Any]:
    """OpenAI's fields, and those that vLLM adds and clients have come to expect."""
    name = about["name"]
    model = {"id": name, "object": "model", "created": about["since"], "owned_by": about["fleet"]}
    return model | {"name": name, "root": name, "parent": None, "permission": []}
