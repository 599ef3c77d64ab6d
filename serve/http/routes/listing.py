"""What is served: the gateway's health and metrics, lists of bots in our form and in OpenAI's."""

import bisect
import itertools
import random
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, TypedDict, cast, get_args

from fastapi import APIRouter
from fastapi.responses import JSONResponse, PlainTextResponse

from serve.http.bots import ServedBots
from serve.http.errors import ApiError
from serve.http.public_facts import DescribedBot, ListedBot, Order, PublicBot, described, listed

MAX_PAGE = 1_000  # bots in one page of GET /bots
router = APIRouter()


class BotList(TypedDict):
    """The reply of GET /bots."""

    bots: list[ListedBot]
    next: str | None  # the cursor of the following page
    total: int  # of all bots that are served, found or not
    letters: str  # with which names of these bots begin, sorted


@router.get("/health")
@router.head("/health", include_in_schema=False)
async def health() -> dict[str, str]:
    """Whether the gateway answers."""
    return {"status": "ok"}


@router.get("/metrics", response_class=PlainTextResponse)
async def metrics(bots: ServedBots) -> str:
    """The metrics of all gateways in Prometheus' text format."""
    return await bots.metrics_text()


@router.get("/bots", response_model=None)
async def list_bots(
    bots: ServedBots,
    q: str = "",
    letter: str = "",
    order: str = "name",
    limit: str = "100",
    cursor: str = "",
    shuffle: str = "",
) -> JSONResponse:
    """A page of the bots whose name or display names contain `q` and whose name begins with `letter`.

    `order` is name, tweets (most first) or voice (most often taken for the person first); `next` is the following
    page's cursor. With `shuffle=true` the bots of the page are drawn at random from all that are found, with
    `shuffle=daily` at random for the day (UTC). Each bot comes with the single numbers of its metrics, and with one
    text that it wrote when it was measured.
    """
    size, catalogue, letter = _page_size(limit), bots.catalogue(_order(order)), letter.casefold()
    every = catalogue.names
    places = catalogue.search(q.strip().removeprefix("@"), _start(every, order, cursor))
    found = ((place, every[place]) for place in places if every[place].startswith(letter))
    following = None
    if shuffle in ("true", "daily"):
        names = [name for _, name in found]
        generator = random.Random(datetime.now(UTC).date().isoformat() if shuffle == "daily" else None)
        names = generator.sample(names, min(size, len(names)))
    else:
        page = list(itertools.islice(found, size + 1))
        names = [name for _, name in page[:size]]
        if len(page) > size:
            following = names[-1] if order == "name" else str(page[size][0])
    page_of_bots: BotList = {
        "bots": [listed(bots.about(name)) for name in names],
        "next": following,
        "total": len(every),
        "letters": _first_letters(bots.catalogue().names),
    }
    return JSONResponse(page_of_bots)  # FastAPI would first copy all of it, which takes longer than everything else


@router.get("/bots/{bot}", response_model=None)
async def describe(bots: ServedBots, bot: str) -> DescribedBot:
    """One bot, with one text that it wrote when it was measured, and with the first words of some others."""
    return described(bots.about(await bots.known(bot)))


@router.get("/v1/models")
async def list_models(bots: ServedBots) -> dict[str, Any]:
    """All bots, as OpenAI lists models."""
    return {"object": "list", "data": [_model(bots.about(name)) for name in bots.catalogue().names]}


@router.get("/v1/models/{bot}")
async def describe_model(bots: ServedBots, bot: str) -> dict[str, Any]:
    """One bot, as OpenAI describes a model."""
    return _model(bots.about(await bots.known(bot.removeprefix("@"))))


def _order(order: str) -> Order:
    """The order of this name. Raises ApiError 422."""
    if order not in get_args(Order):
        raise ApiError(422, "validation_error", f"order: must be one of {', '.join(get_args(Order))}")
    return cast(Order, order)


def _start(names: Sequence[str], order: str, cursor: str) -> int:
    """The place in `names` at which the page with this cursor begins. Raises ApiError 422.

    The cursor is the last name before it where names are sorted, so that no page shows a bot twice while others come
    and go; in other orders it is the place itself.
    """
    if order == "name":
        return bisect.bisect_right(names, cursor)
    if not cursor or (cursor.isascii() and cursor.isdigit() and len(cursor) < 10):
        return int(cursor or 0)
    raise ApiError(422, "validation_error", "cursor: must be the `next` of a page in the same order")


def _first_letters(names: Sequence[str]) -> str:
    """The characters with which these sorted names begin."""
    letters, place = "", 0
    while place < len(names):
        letters += names[place][0]
        place = bisect.bisect_left(names, letters[-1] + "\x7f", place)
    return letters


def _page_size(limit: str) -> int:
    """The number in the query's `limit`, whose digits are few before they are read. Raises ApiError 422."""
    if limit.isascii() and limit.isdigit() and len(limit) <= len(str(MAX_PAGE)) and 1 <= int(limit) <= MAX_PAGE:
        return int(limit)
    raise ApiError(422, "validation_error", f"limit: must be a number from 1 to {MAX_PAGE}")


def _model(about: PublicBot) -> dict[str, Any]:
    """OpenAI's fields, and those that vLLM adds and clients have come to expect."""
    name = about["name"]
    model = {"id": name, "object": "model", "created": about["since"], "owned_by": about["fleet"]}
    return model | {"name": name, "root": name, "parent": None, "permission": []}
