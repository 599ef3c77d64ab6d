"""The gateway: the Serve deployment that owns all HTTP and passes questions on to the bots.

    curl localhost:8000/bots
    curl localhost:8000/bots/nasa -d '{"inputs": "My dream is"}'

It follows the registry's table of what is served, so that a list, a 404 or a bad request wakes no bot; the
routes are in serve/http/routes/. It calls a bot through the handle of its application. If the
replica is lost, it repeats the call, which reaches another one.
"""

import asyncio
import contextlib
import dataclasses
import math
import random
import uuid
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import Any, cast

import ray
from grpc.aio import AioRpcError
from ray import serve
from ray.exceptions import RayActorError
from ray.serve import Application
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError, RequestCancelledError
from ray.serve.handle import DeploymentHandle
from starlette.types import ASGIApp

from pipeline.core import logs
from pipeline.core.names import short_name, typed_served_name
from pipeline.core.signing import Keyring, merged
from serve.deployments import endpoint, published, ray_internals
from serve.deployments.endpoint import app_name, pinned_options
from serve.deployments.fair_queue import FairQueue, Full
from serve.deployments.gateway_messages import GatewayReport, News
from serve.deployments.gateway_metrics import GatewayMetrics
from serve.deployments.handles import Handles
from serve.deployments.pool import pool_name, session
from serve.deployments.published import BotEntry
from serve.deployments.registry import Registry
from serve.deployments.traffic import Traffic
from serve.engine.question import Part, Question, ReplicaPart
from serve.http import tracing
from serve.http.catalogue import Catalogue
from serve.http.errors import ApiError
from serve.http.guard import Guard, current_client
from serve.http.public_facts import Order, Outcome, PublicBot
from serve.http.routes import build

APP = "gateway"
RETRY_SECONDS = 2
_TRIES = 8  # for a request whose replica is lost: some ten seconds, until Serve has noticed
_LOST = (RayActorError, RequestCancelledError, AioRpcError)
_HIDDEN = {"where", "complete", "deadline_seconds", "max_queued_requests", "max_replicas"}  # of an entry, in GET /bots
_REPLICAS = {"min_replicas": 1, "max_replicas": 4, "target_ongoing_requests": 100}
_CORES_FOR_TWO = 4  # on a smaller machine a second one would take the bots' cores


@serve.deployment(
    max_ongoing_requests=10_000,  # far above the guard's own limit, so that no request waits in Serve's queue
    # It mostly waits, so it fits on a node that is full of bots. Without any share of a core it could be placed on a
    # head that has none, and be lost with it.
    ray_actor_options={"num_cpus": 0.001},
)
@serve.ingress()
class Gateway:
    """The bots that the HTTP routes need (serve.http.bots.Bots), over a copy of the registry's table."""

    async def __init__(self, registry: DeploymentHandle, traces: tracing.Settings | None = None):  # type: ignore[misc]
        ray_internals.listen_on_loopback()
        tracing.start(traces, "gateway")
        self.registry = registry
        self.table: dict[str, BotEntry] = {}
        self.catalogues: dict[Order, Catalogue] = {}  # of the orders that were asked for
        self.listed = False  # whether search engines may list any bot
        self.epoch, self.revision = "", 0
        self.handles, self.traffic, self.metrics = Handles(), Traffic(), GatewayMetrics()
        self.queues: dict[str, FairQueue] = {}  # by bot; only of those that are asked
        self.guard = Guard()
        self._id = uuid.uuid4().hex
        self._asking, self._asked_at = asyncio.Lock(), 0.0
        await self._follow_once()
        self._following = asyncio.create_task(self._follow())

    def __serve_build_asgi_app__(self) -> ASGIApp:
        self.guard.app = build(self)
        return self.guard

    def check_health(self) -> None:
        """Raises RuntimeError if this replica should be started again."""
        if self._following.done():
            raise RuntimeError("the gateway has stopped following the registry")

    async def _follow(self) -> None:
        while True:
            try:
                await self._follow_once()
            except Exception:  # the registry is gone for a moment: continue with the table as it is
                logs.log().warning("the registry does not answer", exc_info=True)
                await asyncio.sleep(1)

    async def _follow_once(self) -> None:
        report: GatewayReport = {"busy": self.traffic.report(), "metrics": self.metrics.report()}
        self._learn(await self.registry.changes.remote(self._id, self.epoch, self.revision, report))

    def _learn(self, news: News) -> None:
        """Brings the table up to date; news from before what is known already are ignored."""
        if news["epoch"] == self.epoch and news["revision"] < self.revision:
            return
        self.epoch, self.revision = news["epoch"], news["revision"]
        self.keyrings, self.old_link_keys = news["keyrings"], news["old_link_keys"]
        self.storages, self.watermarks = news["storages"], news.get("watermarks", {})
        self.guard.configure(news["keys"], news["origins"], news["gateways"])
        if news["whole"] or news["bots"]:
            # most news are of where a bot is answered from: 100,000 bots need not be sorted for these
            if news["whole"] or any(_moves(self.table.get(bot), entry) for bot, entry in news["bots"].items()):
                self.catalogues = {}
            table = ({} if news["whole"] else self.table) | news["bots"]
            self.table = {bot: entry for bot, entry in table.items() if entry}
            if len(self.table) < len(table):
                published.clear_caches()  # they hold what is of people whose bots are gone
            # a registry of an earlier release does not say
            self.listed = any(entry.get("search_engines") for entry in self.table.values())

    async def versions(self, bots: list[str]) -> tuple[int, dict[str, str]]:
        """The revision of this gateway's table, and the version of each of these bots in it."""
        return self.revision, {bot: self.table[bot]["version"] for bot in bots if bot in self.table}

    def catalogue(self, order: Order = "name") -> Catalogue:
        """All bots in this order."""
        if order not in self.catalogues:
            self.catalogues[order] = Catalogue(self.table, order)
        return self.catalogues[order]

    async def metrics_text(self) -> str:
        """The metrics of all gateways, in Prometheus' text format."""
        return await self.registry.metrics.remote()

    def about(self, name: str) -> PublicBot:
        """What `GET /bots/{bot}` shows of a bot."""
        shown = {key: value for key, value in self.table[name].items() if key not in _HIDDEN}
        return cast(PublicBot, {"name": name} | shown | {"links": {"self": f"/bots/{name}"}})

    def keyring(self, bot: str | None = None) -> Keyring:
        """The keys of a bot's fleet; those of all fleets without a bot, or for one that is not served (any more)."""
        if bot in self.table:
            return self.keyrings[self.table[bot]["fleet"]]
        return merged(self.keyrings.values())

    def old_link_key(self, bot: str) -> bytes | None:
        """The key of old links to a bot's answers, or None if there are none."""
        return self.old_link_keys[self.table[bot]["fleet"]]

    def search_engines(self) -> bool:
        """Whether search engines may list any of the bots."""
        return self.listed

    async def picture(self, bot: str, handle: str) -> bytes | None:
        """The profile picture of one of the bot's people as PNG, or None."""
        entry = self.table[bot]
        if handle not in entry["pictures"]:
            return None
        fleet = entry["fleet"]
        storage, version = self.storages[fleet], entry["version"]
        return await asyncio.to_thread(published.picture, fleet, storage, short_name(bot), version, handle)

    async def held_out(self, bot: str) -> Sequence[str]:
        """Held-out tweets of the bot's people, to play with; none unless the fleet has a game."""
        entry = self.table[bot]
        if not entry.get("fooled"):
            return ()
        fleet, version = entry["fleet"], entry["version"]
        handle = random.choice(entry["handles"])
        return await asyncio.to_thread(published.held_out, fleet, self.storages[fleet], handle, version)

    async def begin_round(self, bot: str, real: int) -> str:
        """Opens a round of the game; `real` is the place of the real tweet. Returns the round's id."""
        return await self.registry.begin_round.remote(bot, real)

    async def end_round(self, bot: str, round_id: str, pick: int) -> Outcome | None:
        """Ends a round of the game; None if there is no such open round with this bot."""
        return await self.registry.end_round.remote(bot, round_id, pick)

    async def known(self, name: str) -> str:
        """The bot of this name, typed in any case and, for a blend, in any order. Raises ApiError 404.

        A name that this gateway does not know is first asked of the registry, which may know it already.
        """
        typed = typed_served_name(name) or ""
        bot = self._served_as(typed)
        if typed and bot is None:
            with contextlib.suppress(Exception):
                await self._ask_for_news()
            bot = self._served_as(typed)
        if bot is None:
            raise ApiError(404, "not_found", "no such bot is served here; GET /bots lists them")
        return bot

    def _served_as(self, name: str) -> str | None:
        """The name in the table of the bot that is meant: `nasa@large` is `nasa` where that is of the fleet `large`."""
        if name in self.table:
            return name
        bot, _, fleet = name.partition("@")
        return bot if fleet and bot in self.table and self.table[bot]["fleet"] == fleet else None

    async def _ask_for_news(self) -> None:
        """Asks the registry once for all requests that wait for news, so that guessed names cannot flood it."""
        clock = asyncio.get_running_loop().time
        came = clock()
        async with self._asking:
            if self._asked_at <= came:
                self._asked_at = clock()
                news = self.registry.news.remote(self.epoch, self.revision)
                self._learn(await asyncio.wait_for(news, RETRY_SECONDS))

    async def answer(self, bot: str, question: Question) -> AsyncGenerator[Part, None]:
        """The parts of a bot's answer, within its deadline; counted. Closing the iterator stops the generation.

        Raises ApiError 404, 422, 503 or 504.
        """
        entry, label = self.table[bot], self.metrics.bot(bot)
        clock = asyncio.get_running_loop().time
        began, first, status = clock(), 0.0, 499
        end = began + entry["deadline_seconds"]
        question = dataclasses.replace(question, watermark=self.watermarks.get(entry["fleet"]))
        self.metrics.ongoing.labels(label).inc()
        try:
            async with (
                self._place(bot, entry, began, end),
                contextlib.aclosing(self._answer(bot, end, question)) as parts,
            ):
                async for part in parts:
                    if "pieces" in part and not first:
                        first = clock() - began
                        self.metrics.first.labels(entry["where"]).observe(first)
                    if "choices" in part:
                        status = 200
                        self._count(label, part, clock() - began)
                    yield part
        except ApiError as error:
            status = error.code
            raise
        finally:
            self.metrics.ongoing.labels(label).dec()
            self.metrics.requests.labels(label, status).inc()

    @contextlib.asynccontextmanager
    async def _place(self, bot: str, entry: BotEntry, began: float, end: float) -> AsyncIterator[None]:
        """Waits until a request may be passed on; measures the time until it is done. Raises ApiError 503 or 504."""
        gateways, queue = self.guard.gateways, self.queues.setdefault(bot, FairQueue())
        places = math.ceil(endpoint.places(entry["max_replicas"]) / gateways)
        waiting = math.ceil(entry["max_queued_requests"] / gateways)
        wait = tracing.current().child("wait")
        try:
            async with queue.place(current_client(), places, waiting, end):
                wait.end()
                self.traffic.begin(bot)
                try:
                    yield
                finally:
                    self.traffic.end(bot)
                    self.metrics.seconds.labels(entry["where"]).observe(asyncio.get_running_loop().time() - began)
        except Full:
            raise ApiError(503, "overloaded", f"{bot} is busy; try again", RETRY_SECONDS) from None
        except TimeoutError:
            raise ApiError(504, "deadline_exceeded", f"{bot} did not answer in time") from None
        finally:
            wait.end()
            if queue.empty:
                self.queues.pop(bot, None)

    def _count(self, label: str, answer: ReplicaPart, seconds: float) -> None:
        """Counts an answer that came `seconds` after it was asked for."""
        self.metrics.tokens.labels(label).inc(sum(choice["tokens"] for choice in answer["choices"]))
        self.metrics.batch.observe(answer["batch"])
        if "pool" in answer:
            self.metrics.pooled(answer["pool"])
        waited = seconds - answer.get("replica_seconds", seconds)
        if waited > 0:  # the replica became ready after the request had come
            self.metrics.starts.observe(waited)

    async def _answer(self, bot: str, end: float, question: Question) -> AsyncGenerator[ReplicaPart, None]:
        """The parts of an answer, until the time `end`. If a replica is lost another one is asked.

        The seed makes it generate the same, and pieces that were passed on already are left out.
        """
        question = dataclasses.replace(question, parameters=question.parameters.seeded(), client=current_client())
        sent: Counter[int] = Counter()  # pieces passed on, by choice
        begun = ""  # the version that generated them
        for attempt in range(1, _TRIES + 1):
            passing: Counter[int] = Counter()
            try:
                async with self._calling(bot, attempt, question) as call:
                    while True:
                        async with asyncio.timeout_at(end):
                            part = await anext(call, None)
                        if part is None:
                            return
                        if "error" in part:
                            raise ApiError(**part["error"])
                        part.setdefault("version", "")  # a replica of an earlier release does not say it
                        if sent and part["version"] != begun:  # half of the text would be of each
                            message = f"{bot} changed to another version while it answered; try again"
                            raise ApiError(503, "bot_unavailable", message, RETRY_SECONDS)
                        begun = part["version"]
                        if "pieces" in part:
                            part["pieces"] = [one for one in part["pieces"] if _new(one["index"], passing, sent)]
                        yield part
            except TimeoutError:
                raise ApiError(504, "deadline_exceeded", f"{bot} did not answer in time") from None
            except BackPressureError:
                raise ApiError(503, "overloaded", f"{bot} is busy; try again", RETRY_SECONDS) from None
            except DeploymentUnavailableError:
                raise ApiError(503, "bot_unavailable", f"{bot} cannot be started", RETRY_SECONDS) from None
            except _LOST:
                self.metrics.retries.inc()
                if attempt == _TRIES:
                    raise ApiError(503, "bot_unavailable", f"{bot} was lost; try again", RETRY_SECONDS) from None
                await asyncio.sleep(min(0.1 * 2**attempt, 2))

    @contextlib.asynccontextmanager
    async def _calling(self, bot: str, attempt: int, question: Question) -> AsyncIterator[Any]:
        """A call of the bot, cancelled at the end of the block, which stops the generation."""
        entry = self.table.get(bot)
        if entry is None:
            raise ApiError(404, "not_found", f"{bot} is not served any more")
        again = attempt > 1 and entry["endpoint"] == "auto"  # its own replicas may just be going
        if entry["where"] == "pool" or again:
            application, deployment = pool_name(entry["fleet"]), "PoolWorker"
        else:
            application, deployment = app_name(bot), "BotEndpoint"
        with self.handles.of(application, deployment) as handle:
            span = tracing.current().child("call", "CLIENT")
            if span.trace:
                question = dataclasses.replace(question, trace=span.trace)
            # by value, over gRPC: half the time of Ray's object store, and tokens come in one stream
            handle = handle.options(
                stream=True, _by_reference=False, session_id=session(bot, self.traffic.ongoing(bot) - 1)
            )
            call = ray_internals.call_separately(handle.answer.remote, short_name(bot), entry["version"], question)
            try:
                yield call
            finally:
                call.cancel()
                span.end({"where": entry["where"], "attempt": attempt})


def _moves(old: BotEntry | None, new: BotEntry | None) -> bool:
    """Whether a bot may have another place in a list now: it came, it went, or its names or numbers changed."""
    return old is None or new is None or any(old[field] != new[field] for field in ("counts", "metrics", "names"))


def _new(index: int, passing: Counter[int], sent: Counter[int]) -> bool:
    """Whether a piece of a choice was not passed on yet; counts it."""
    passing[index] += 1
    if passing[index] <= sent[index]:
        return False
    sent[index] = passing[index]
    return True


def application() -> Application:
    """The application of the registry and its gateways: two where there is room, so that one may be lost."""
    registry = Registry.options(**pinned_options()).bind()  # type: ignore[attr-defined]
    room = ray.is_initialized() and ray.cluster_resources().get("CPU", 0) >= _CORES_FOR_TWO
    scaling = _REPLICAS | {"min_replicas": 2 if room else 1}
    traces = tracing.settings()
    options = pinned_options(*([traces] if traces else []))
    return Gateway.options(**options, autoscaling_config=scaling).bind(registry, traces)  # type: ignore[attr-defined]
