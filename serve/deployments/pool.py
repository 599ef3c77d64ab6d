"""A fleet's pool: warm workers that answer for any of its bots, for the many that are rarely asked.

    serve.run(application(store, settings), name=pool_name("politicians"), route_prefix=None)
    handle.options(stream=True, session_id="nasa").answer.remote("nasa", "0123456789ab", Question("My dream is"))

A worker that does not hold a bot maps its weights into memory, in milliseconds: no request waits for a process or an
import. Serve's consistent-hash router sends a session id's requests to the worker where it sent the
ones before, and to the next on the ring when that is full; the gateway uses the bot's name as session id, with
a number behind it when the bot is hot.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

from ray import serve
from ray.serve import Application
from ray.serve.config import RequestRouterConfig

from pipeline.core.errors import one_line
from pipeline.core.settings import EngineOptions, Serve
from pipeline.core.store import Store
from serve.deployments.disk_cache import Cache
from serve.deployments.endpoint import (
    ENGINE_BATCH,
    cache_of,
    engine_options,
    load,
    not_loaded,
    pinned_options,
    request_limit,
    scaling,
    stream_answer,
)
from serve.deployments.loaded_bots import LoadedBots
from serve.deployments.ray_internals import listen_on_loopback
from serve.engine.question import Question, ReplicaPart
from serve.engine.request import DamagedModel
from serve.http import tracing

SPREAD = 16  # ongoing requests of a bot per session id
_ROUTER = "ray.serve.experimental.consistent_hash_router.ConsistentHashRouter"
_SWEEP_SECONDS = 30


@serve.deployment
class PoolWorker:
    """Answers for all bots of a fleet. It holds `budget` bytes of them, and none that is unused for `idle_seconds`."""

    def __init__(self, cache: Cache, budget: int, idle_seconds: float, options: EngineOptions):
        import torch

        import serve.engine.engine  # noqa: F401  (what takes seconds is done before the first request)

        listen_on_loopback()
        torch.set_num_threads(1)
        self.bots = LoadedBots(lambda bot, version: load(cache, bot, version, options), budget, idle_seconds)
        self.store = cache.store
        self._sweeping: asyncio.Task[None] | None = None

    async def reconfigure(self, config: object) -> None:
        """Starts what needs the running event loop; the config is empty."""
        self._sweeping = self._sweeping or asyncio.create_task(self._sweep())

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            self.bots.sweep()
            await self._remove_deleted()

    async def _remove_deleted(self) -> None:
        """Removes bots from memory that are not in the store any more: somebody was taken out of the fleet."""
        for bot, version in self.bots.held():
            with suppress(OSError):  # the store is gone for a moment
                if not await asyncio.to_thread(self.store.exists, f"bots/{bot}/{version}"):
                    self.bots.discard(bot, version, FileNotFoundError(f"{bot} {version} was deleted"))

    async def answer(self, bot: str, version: str, question: Question) -> AsyncIterator[ReplicaPart]:
        """The parts of the bot's answer, see `endpoint.stream_answer`. Loads the bot first if needed."""
        holding, held, began = self.bots.of(bot, version), (bot, version) in self.bots, time.time_ns()
        try:
            thread: Any = await holding.__aenter__()
        except Exception as error:
            yield not_loaded(bot, one_line(error))
            return
        if not held:
            tracing.of(question.trace).record("load", began, time.time_ns(), {"bot": bot, "version": version})
        try:
            async for part in stream_answer(thread, version, question):
                if "choices" in part:
                    part["pool"] = self.bots.counts()
                yield part
        except DamagedModel as error:
            self.bots.discard(bot, version, error)
            yield not_loaded(bot, one_line(error))
        finally:
            await holding.__aexit__(None, None, None)


def pool_name(fleet: str) -> str:
    """The name of a fleet's pool as a Serve application."""
    return f"pool-{fleet}"


def session(bot: str, ongoing: int) -> str:
    """The session id of a bot's next request while `ongoing` others run: a busy bot has several."""
    return f"{bot}/{ongoing // SPREAD}" if ongoing >= SPREAD else bot


def application(store: Store, settings: Serve) -> Application:
    """The application that serves a fleet's pooled bots: always warm, scaled by their requests."""
    cache, budget, options = cache_of(store, settings), int(settings.pool_memory_gb * 1e9), engine_options(settings)
    return PoolWorker.options(  # type: ignore[attr-defined]
        **pinned_options(store.root, cache.budget, budget, settings.idle_seconds, options),
        user_config={},
        ray_actor_options={"num_cpus": settings.cpus_per_replica, "num_gpus": settings.gpus_per_replica},
        max_ongoing_requests=2 * ENGINE_BATCH,
        max_queued_requests=request_limit(settings),
        graceful_shutdown_timeout_s=settings.deadline_seconds,
        autoscaling_config=scaling(settings, max(1, settings.min_replicas)),
        request_router_config=RequestRouterConfig(
            request_router_class=_ROUTER,  # type: ignore[arg-type]
            request_router_kwargs={"num_fallback_replicas": 2},
        ),
    ).bind(cache, budget, settings.idle_seconds, options)
