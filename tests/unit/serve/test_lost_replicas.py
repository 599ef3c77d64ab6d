"""How a gateway repeats a call of a bot whose replica was lost."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from types import SimpleNamespace

import pytest
from ray.exceptions import RayActorError

from serve.deployments.gateway import Gateway
from serve.deployments.gateway_metrics import GatewayMetrics
from serve.engine.question import Question
from serve.http.errors import ApiError

OLD, NEW = "000000000001", "000000000002"


def part(version: str, *texts: str) -> dict:
    return {"prompt_tokens": 1, "version": version, "pieces": [{"index": 0, "text": text} for text in texts]}


def answers(*calls: list) -> AsyncIterator[dict]:
    """What a client gets where the first call of the bot gives the parts of the first list, and so on."""
    waiting = list(calls)

    @contextlib.asynccontextmanager
    async def calling(bot, attempt, question):
        async def parts():
            for one in waiting.pop(0):
                if isinstance(one, Exception):
                    raise one
                yield one

        yield parts()

    gateway = SimpleNamespace(metrics=GatewayMetrics(), _calling=calling)
    return Gateway.func_or_class._answer(
        gateway, "ada", asyncio.get_running_loop().time() + 9, Question("Engine", pieces=True)
    )


async def texts_of(*calls: list) -> list[str]:
    return [piece["text"] for one in [part async for part in answers(*calls)] for piece in one["pieces"]]


def test_a_lost_replicas_answer_continues_where_it_was():
    lost = [part(OLD, " a", " b"), RayActorError()]
    assert asyncio.run(texts_of(lost, [part(OLD, " a", " b", " c")])) == [" a", " b", " c"]


def test_a_replica_of_an_earlier_release_still_answers():
    """It does not say which version it holds, so its answers are not signed."""

    async def run() -> list[dict]:
        old = [part("", " a")]
        del old[0]["version"]
        return [one async for one in answers(old)]

    assert [one["version"] for one in asyncio.run(run())] == [""]


def test_no_answer_is_begun_by_one_version_and_ended_by_another():
    """Such a text would be of neither, and signed as a text of the second."""
    lost = [part(OLD, " a", " b"), RayActorError()]
    with pytest.raises(ApiError, match="ada changed to another version while it answered"):
        asyncio.run(texts_of(lost, [part(NEW, " x", " y", " z")]))
    nothing = [RayActorError()]
    assert asyncio.run(texts_of(nothing, [part(NEW, " x")])) == [" x"]
