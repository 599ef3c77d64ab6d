"""Who wrote a text: the public keys of the answers' signatures, and a check of one signature.

    curl 127.0.0.1:8000/.well-known/huggingtweets-keys.json
    curl -G 127.0.0.1:8000/verify -d bot=nasa --data-urlencode "said= to land on Mars" -d signature=…

Neither wakes a bot. What anyone can check without a server is in pipeline/core/signing.py and docs/http.md.
"""

from contextlib import suppress
from typing import Any

from fastapi import APIRouter

from pipeline.core.names import typed_served_name
from pipeline.core.signing import verdict
from serve.http.bots import ServedBots
from serve.http.errors import ApiError
from serve.http.guard import PUBLIC_KEYS

router = APIRouter()


@router.get(PUBLIC_KEYS)
async def public_keys(bots: ServedBots) -> dict[str, Any]:
    """The public keys of all fleets as JSON Web Keys, the newest first; retired keys check old signatures."""
    return {"keys": bots.keyring().jwks}


@router.get("/verify")
async def verify(
    bots: ServedBots, bot: str = "", said: str = "", signature: str = "", prompt: str | None = None
) -> dict[str, Any]:
    """Whether the bot wrote `said` (and, with `prompt`, as its continuation); if so, in which version, and when."""
    for key, value in {"bot": bot, "said": said, "signature": signature}.items():
        if not value:
            raise ApiError(422, "validation_error", f"{key}: must be given")
    name = typed_served_name(bot)
    if name is None:
        raise ApiError(404, "not_found", "bot: not the name of a bot")
    names = [name]  # under which the bot signed: one that is not served any more, or that has another name now
    with suppress(ApiError):
        names.insert(0, await bots.known(name))
    found = (bots.keyring(one).check(one, said, signature, prompt) for one in names)
    return {**verdict(next(filter(None, found), None))}
