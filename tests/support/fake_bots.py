"""Bots without models or Ray, for tests of the page: the gateway's real routes over them, on a real port."""

import asyncio
import contextlib
import io
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator

import uvicorn
from PIL import Image
from starlette.types import ASGIApp

from pipeline.core.names import handles_of
from pipeline.core.signing import Keyring, SigningKey
from serve.deployments.game import Game
from serve.engine.question import Part, Question
from serve.http import keys
from serve.http.catalogue import Catalogue
from serve.http.errors import ApiError
from serve.http.guard import Guard
from serve.http.public_facts import Order, Outcome, PublicBot
from serve.http.routes import build

_FILE = io.BytesIO()
Image.new("RGB", (88, 88), "teal").save(_FILE, "PNG")
FACE = _FILE.getvalue()
KEYRING, OLD_LINK_KEY = Keyring((SigningKey.new(),)), bytes(range(32))
VERSION = "0123456789ab"
SAMPLES = {
    "My dream is": ["My dream is", "My dream is to be number one in a town of whales", "My dream is tea " * 40],
    "": ["Today we watch the whales", "I think the fog is over"],
}
TWEET = "The fog is over, and the whales are back in the bay"
ANSWER = " to see a <b>whale</b> 🐋 from the kitchen window, twice a day"


class FakeBots:
    """What the routes need of a gateway: every bot answers with `text`, after `pause` seconds for each word."""

    def __init__(self, bots: list[str], text: str = ANSWER, pause: float = 0.0):
        self.table = {bot: about(bot, i) for i, bot in enumerate(sorted(bots))}
        self.text, self.pause = text, pause
        self.asked: list[tuple[str, str]] = []
        self.temperatures: list[float] = []
        self.refuse: list[ApiError] = []  # raised by the next requests, one each
        self.game = Game({})  # for those whose `fooled` is not None
        self.tweets = [TWEET]

    def keyring(self, bot: str | None = None) -> Keyring:
        return KEYRING

    def old_link_key(self, bot: str) -> bytes | None:
        return OLD_LINK_KEY

    def search_engines(self) -> bool:
        return any(one.get("search_engines") for one in self.table.values())

    async def picture(self, bot: str, handle: str) -> bytes | None:
        return FACE if handle in self.table[bot]["pictures"] else None

    async def held_out(self, bot: str) -> list[str]:
        return self.tweets if self.table[bot]["fooled"] else []

    async def begin_round(self, bot: str, real: int) -> str:
        return self.game.begin(bot, VERSION, real)

    async def end_round(self, bot: str, round_id: str, pick: int) -> Outcome | None:
        outcome = self.game.end(bot, VERSION, round_id, pick)
        self.table[bot]["fooled"] = outcome["fooled"] if outcome else self.table[bot]["fooled"]
        return outcome

    async def metrics_text(self) -> str:
        return ""

    def catalogue(self, order: Order = "name") -> Catalogue:
        return Catalogue(self.table, order)

    def about(self, name: str) -> PublicBot:
        return self.table[name]

    async def known(self, name: str) -> str:
        if name not in self.table:
            raise ApiError(404, "not_found", "no such bot is served here; GET /bots lists them")
        return name

    async def answer(self, bot: str, question: Question) -> AsyncIterator[Part]:
        self.asked.append((bot, question.prompt))
        self.temperatures.append(question.parameters.temperature)
        if self.refuse:
            raise self.refuse.pop(0)
        counted = {"prompt_tokens": 4, "version": VERSION}
        words = [f" {word}" for word in self.text.split()]
        for number, word in enumerate(words, 1):
            await asyncio.sleep(self.pause)
            reason = "stop" if number == len(words) else None
            piece = {"index": 0, "token": number, "name": word, "text": word, "logprob": -1.0, "special": False}
            yield {"pieces": [piece | {"top": {}, "from_prompt": False, "finish_reason": reason}], **counted}
        several = question.parameters.num_return_sequences > 1
        texts = [f"{self.text}, {i}" if several else self.text for i in range(question.parameters.num_return_sequences)]
        choices = [{"text": text, "tokens": len(words), "finish_reason": "stop"} for text in texts]
        yield {"choices": choices, **counted}


def about(bot: str, number: int = 0) -> PublicBot:
    handles = handles_of(bot)
    counts = {handle: {"downloaded": 3200, "retweets": 700, "short": 73, "kept": 2427 - number} for handle in handles}
    losses = {"loss": 3.41 + number % 90 / 100, "perplexity": 30.3, "base_loss": 4.62, "base_perplexity": 101.5}
    return {
        "name": bot,
        "fleet": "birds",
        "handles": handles,
        "names": {"nasa": "NASA 🚀"} if bot == "nasa" else {},
        "pictures": ["nasa"] if "nasa" in handles else [],
        "version": VERSION,
        "newer": None,
        "endpoint": "pooled",
        "ready": True,
        "since": 1790000000,
        "counts": counts,
        "metrics": {"held_out": losses | {"tokens": 4000}, "voice": {"top1": 0.95}, "samples": SAMPLES},
        "contact": "mailto:operator@ferry.example",
        "search_engines": False,
        "fooled": {"rounds": 0, "fooled": 0} if bot == "nasa" else None,
        "links": {"self": f"/bots/{bot}"},
    }


def routes(bots: FakeBots, key: str | None = None) -> Guard:
    """The gateway's routes over these bots; it asks for the key if there is one."""
    guard = Guard(build(bots))
    guard.configure({keys.digest(key): None} if key else {}, [], 1)
    return guard


@contextlib.contextmanager
def serving(app: ASGIApp) -> Iterator[str]:
    """The address at which an application answers, on a free port of loopback."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = uvicorn.Server(uvicorn.Config(app, "127.0.0.1", port, log_level="warning"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join()
