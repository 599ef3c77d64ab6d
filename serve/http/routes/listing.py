"""What is served: the gateway's health and metrics, lists of bots in our form and in OpenAI's."""

import itertools
import random
from typing import Any

from fastapi import APIRouter
from fastapi.responses import PlainTextResponse

from serve.http.bots import Bots, ServedBots
from serve.http.errors import ApiError
from serve.http.public_facts import sample, short_metrics

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
async def list_bots(
    bots: ServedBots, q: str = "", limit: str = "100", cursor: str = "", shuffle: str = ""
) -> dict[str, Any]:
    """A page of bots whose name or display names contain `q`, sorted by name; `next` is the following page's cursor.

    Each comes with the single numbers of its metrics, and with one text that it wrote when it was measured. With
    `shuffle=true` the bots of the page are drawn at random from all that are found.
    """
    size = _page_size(limit)
    wanted = q.strip().removeprefix("@").casefold()
    found = (name for name in bots.names() if name > cursor and _matches(bots, name, wanted))
    if shuffle == "true":
        every = list(found)
        page = random.sample(every, min(size, len(every)))
    else:
        page = list(itertools.islice(found, size + 1))
    following = page[size - 1] if len(page) > size else None
    return {"bots": [_listed(bots.about(name)) for name in page[:size]], "next": following, "total": len(bots.names())}


@router.get("/bots/{bot}")
async def describe(bots: ServedBots, bot: str) -> dict[str, Any]:
    """One bot, with one text that it wrote when it was measured."""
    about = bots.about(await bots.known(bot))
    return about | {"sample": sample(about["metrics"])}


@router.get("/v1/models")
async def list_models(bots: ServedBots) -> dict[str, Any]:
    """All bots, as OpenAI lists models."""
    return {"object": "list", "data": [_model(bots.about(name)) for name in bots.names()]}


@router.get("/v1/models/{bot}")
async def describe_model(bots: ServedBots, bot: str) -> dict[str, Any]:
    """One bot, as OpenAI describes a model."""
    return _model(bots.about(await bots.known(bot.removeprefix("@"))))


def _matches(bots: Bots, name: str, wanted: str) -> bool:
    """Whether a bot's name contains a text (case folded), or a display name of its people does."""
    return wanted in name or any(wanted in shown.casefold() for shown in bots.display_names(name))


def _listed(about: dict[str, Any]) -> dict[str, Any]:
    metrics = about["metrics"]
    return about | {"metrics": short_metrics(metrics), "sample": sample(metrics)}


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
