"""A replica whose bot does not load reports why, and answers once it loads."""

import asyncio
import threading
from types import SimpleNamespace

import pytest

from serve.deployments import endpoint
from serve.engine.question import Question


def test_a_bot_that_did_not_load_is_tried_again_after_a_while(monkeypatch: pytest.MonkeyPatch):
    tries = []

    def load(*arguments):
        tries.append(arguments[1:3])
        if len(tries) < 3:
            raise OSError("the store is gone")
        return "an engine"

    async def stream_answer(thread, *arguments):
        yield {"choices": [], "by": thread}

    monkeypatch.setattr(endpoint, "load", load)
    monkeypatch.setattr(endpoint, "stream_answer", stream_answer)

    async def run() -> None:
        replica = endpoint.BotEndpoint.func_or_class("ada", None, {})
        await replica.reconfigure({"version": "1"})

        async def ask() -> dict:
            return await anext(replica.answer("ada", "1", Question("Engine")))

        error = (await ask())["error"]
        assert "the store is gone" in error.pop("message")
        assert error == {"code": 503, "type": "bot_unavailable", "retry_after": 30}
        assert tries == [("ada", "1")]  # so soon nobody tries again
        monkeypatch.setattr(endpoint, "_AGAIN_SECONDS", -1.0)
        assert "error" in await ask()
        assert (await ask())["by"] == (await ask())["by"] == "an engine"
        assert len(tries) == 3

    asyncio.run(run())


@pytest.mark.parametrize(
    ("problem", "shown"),
    [
        ("/srv/fleets/toys/bots/ada/1/model.safetensors is missing", "model.safetensors is missing"),
        ("[Errno 2] No such file or directory: '/srv/fleets/x.json'", "[Errno 2] No such file or directory: 'x.json'"),
        ("bucket/fleets/toys/bots/ada/1: no such bot in the store", "1: no such bot in the store"),
    ],
)
def test_clients_do_not_learn_where_the_files_are(problem, shown):
    assert endpoint.not_loaded("ada", problem)["error"]["message"] == f"the model of ada does not load: {shown}"


def test_while_a_new_version_loads_the_old_one_answers_and_says_so(monkeypatch: pytest.MonkeyPatch):
    """Otherwise its texts would be signed as those of the version that is being loaded."""
    release = threading.Event()

    def load(cache, bot, version, options):
        if version == "2":
            release.wait(10)
        return SimpleNamespace(close=lambda: None)

    async def stream_answer(thread, version, question):
        yield {"choices": [], "version": version}

    monkeypatch.setattr(endpoint, "load", load)
    monkeypatch.setattr(endpoint, "stream_answer", stream_answer)

    async def run() -> None:
        replica = endpoint.BotEndpoint.func_or_class("ada", None, {})
        await replica.reconfigure({"version": "1"})

        async def answering() -> str:
            return (await anext(replica.answer("ada", "2", Question("Engine"))))["version"]

        loading = asyncio.create_task(replica.reconfigure({"version": "2"}))
        await asyncio.sleep(0.05)
        assert await answering() == "1"
        release.set()
        await loading
        assert await answering() == "2"

    asyncio.run(run())
