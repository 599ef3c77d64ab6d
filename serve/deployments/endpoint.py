"""A bot's own Serve deployment: it holds one model and answers concurrent requests as one batch.

    serve.run(application(...), name="bot-nasa", route_prefix=None)
    handle.options(stream=True).answer.remote("nasa", "0123456789ab", Question("My dream is"))

The deployment has no HTTP of its own: the gateway calls it through its handle. A new version comes as
user_config: running replicas load it beside the old one and change over, and no request fails.
"""

import asyncio
import functools
import re
import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, TypedDict

from ray import serve
from ray.serve import Application

from pipeline.core import logs
from pipeline.core.errors import one_line
from pipeline.core.own_code import PROJECT, code_hash
from pipeline.core.settings import EngineOptions, Serve
from pipeline.core.store import Store
from serve.deployments.disk_cache import Cache
from serve.deployments.ray_internals import OWN_VERSION, listen_on_loopback
from serve.engine.question import Choice, ErrorData, Question, ReplicaPart, Trace
from serve.engine.request import DamagedModel, Piece, Request
from serve.http import tracing

if TYPE_CHECKING:
    from serve.engine.thread import EngineThread

ENGINE_BATCH = 32  # sequences that one engine decodes together
_FOLDERS = re.compile(r"[^\s'\"(]*/")
_AGAIN_SECONDS = 5.0  # how long a bot that did not load is not tried again


class VersionConfig(TypedDict):
    """A bot's user_config: what Serve passes to running replicas."""

    version: str


@serve.deployment
class BotEndpoint:
    """Answers for one bot."""

    def __init__(self, bot: str, cache: Cache, options: EngineOptions):
        import torch

        listen_on_loopback()
        torch.set_num_threads(1)  # more make a small model slower, and a host serves many bots
        self.bot, self.cache, self.engine = bot, cache, options
        self.thread: EngineThread | None = None
        self.answering = ""  # the version that the thread holds
        self.problem = ""
        self.ready = 0.0  # since when

    async def reconfigure(self, config: VersionConfig) -> None:
        """Loads a version of the bot; requests that have begun are finished by the version before."""
        self.version, before = config["version"], self.thread
        await self._load()
        if before:
            before.close()

    async def _load(self) -> None:
        self.tried, version = time.monotonic(), self.version
        try:
            self.thread = await asyncio.to_thread(load, self.cache, self.bot, version, self.engine)
            self.answering = version
            self.problem, self.ready = "", self.ready or time.monotonic()
        except Exception as error:
            # Serve starts a replica that fails again and again; this one answers with the reason
            self.thread, self.problem = None, one_line(error)

    def check_health(self) -> None:
        """Raises RuntimeError if this replica should be started again."""
        if self.thread and not self.thread.is_alive():
            raise RuntimeError(f"the engine of {self.bot} has ended")

    async def answer(self, bot: str, version: str, question: Question) -> AsyncIterator[ReplicaPart]:
        """The parts of the bot's answer, see `stream_answer`; the replica's own version answers."""
        if not self.thread and time.monotonic() - self.tried > _AGAIN_SECONDS:
            await self._load()  # what was wrong with the store may have passed
        if not self.thread:
            yield not_loaded(self.bot, self.problem)
            return
        thread = self.thread
        try:
            async for part in stream_answer(thread, self.answering, question):
                if "choices" in part:
                    part["replica_seconds"] = time.monotonic() - self.ready
                yield part
        except DamagedModel as error:
            if self.thread is thread:  # not loaded anew meanwhile
                thread.close()
                self.thread, self.problem, self.tried = None, one_line(error), time.monotonic()
            yield not_loaded(self.bot, one_line(error))


def load(cache: Cache, bot: str, version: str, options: EngineOptions) -> "EngineThread":
    """An engine with the bot's weights, at work. Raises what is wrong with its files."""
    from serve.engine.engine import Engine
    from serve.engine.thread import EngineThread

    log, began = logs.log(fleet=cache.store.fleet, bot=bot, version=version), time.monotonic()
    try:
        with cache.folder(bot, version) as folder:
            thread = EngineThread(Engine(folder, ENGINE_BATCH, **options))
    except Exception as error:
        log.error("does not load: %s", one_line(error))
        raise
    log.info("loaded in %.2f s", time.monotonic() - began)
    return thread


def engine_options(settings: Serve) -> EngineOptions:
    """The arguments of a replica's engine. Without a share of a GPU it uses none, though Ray shows it the node's."""
    return {**settings.engine, "device": "cuda" if settings.gpus_per_replica else "cpu"}


def cache_of(store: Store, settings: Serve) -> Cache:
    """The cache of a fleet's bots on a node."""
    return Cache(store, int(settings.cache_gb * 1e9))


def not_loaded(bot: str, problem: str) -> ReplicaPart:
    """The answer of a bot whose model is missing or damaged. Clients see the names of files, not where they are."""
    problem = _FOLDERS.sub("", problem)
    return _error(503, "bot_unavailable", f"the model of {bot} does not load: {problem}", 30)


def _error(code: int, type: str, message: str, retry_after: int | None = None) -> ReplicaPart:
    error: ErrorData = {"code": code, "type": type, "message": message, "retry_after": retry_after}
    return {"prompt_tokens": 0, "version": "", "error": error}


async def stream_answer(thread: "EngineThread", version: str, question: Question) -> AsyncIterator[ReplicaPart]:
    """The parts of an answer by this version of a bot.

    Pieces come as they are generated, where they are asked for, then the choices or an error.

    The generation stops when the iterator is closed. Raises DamagedModel.
    """
    loop, arrived, began = asyncio.get_running_loop(), asyncio.Queue[Any](), time.time_ns()

    def put(item: Any) -> None:  # by the engine's thread
        loop.call_soon_threadsafe(arrived.put_nowait, item)

    on_piece = put if question.pieces else None
    request = Request(
        question.prompt,
        question.parameters,
        on_piece,
        logprobs=question.logprobs,
        prompt_pieces=question.prompt_pieces,
        only_prompt=question.only_prompt,
        client=question.client,
        watermark=question.watermark,
    )
    future = thread.submit(request)
    future.add_done_callback(put)
    try:
        done = False
        while not done:
            items = [await arrived.get()]
            while not arrived.empty():
                items.append(arrived.get_nowait())
            done = items[-1] is future
            new: list[Any] = [vars(item) for item in items if isinstance(item, Piece)]
            if new:
                yield {"pieces": new, "prompt_tokens": request.prompt_tokens, "version": version}
        choices: list[Choice] = [
            {"text": one.text, "tokens": one.tokens, "finish_reason": one.finish_reason} for one in future.result()
        ]
        batch = thread.engine.batch + len(choices)
        yield {"choices": choices, "prompt_tokens": request.prompt_tokens, "version": version, "batch": batch}
    except ValueError as error:
        yield _error(422, "validation_error", str(error))
    finally:
        request.cancelled = True
        _record(request, question.trace, began)


def _record(request: Request, trace: Trace | None, began: int) -> None:
    """Adds to the trace how long the request waited for the engine, read its prompt, and generated."""
    span, ended = tracing.of(trace), time.time_ns()
    admitted, first = request.admitted or ended, request.first_token or ended
    tokens = sum(choice.tokens for choice in request.choices.values())
    span.record("queue", began, admitted, {})
    span.record("prefill", admitted, first, {"tokens": request.prompt_tokens})
    span.record("decode", first, ended, {"tokens": tokens, "texts": request.parameters.num_return_sequences})


def app_name(served_name: str) -> str:
    """The name of a bot's Serve application; the prefix tells a bot named gateway from the gateway."""
    return f"bot-{served_name}"


def application(bot: str, store: Store, version: str, settings: Serve) -> Application:
    """The application that serves a bot, scaled by its requests between min and max."""
    cache, options = cache_of(store, settings), engine_options(settings)
    return BotEndpoint.options(  # type: ignore[attr-defined]
        **pinned_options(bot, store.root, cache.budget, options),
        user_config={"version": version},
        ray_actor_options={"num_cpus": settings.cpus_per_replica, "num_gpus": settings.gpus_per_replica},
        max_ongoing_requests=2 * ENGINE_BATCH,
        max_queued_requests=request_limit(settings),
        graceful_shutdown_timeout_s=settings.deadline_seconds,
        autoscaling_config=scaling(settings, settings.min_replicas),
    ).bind(bot, cache, options)


def places(max_replicas: int) -> int:
    """How many requests of a bot its replicas take at a time. The gateways pass no more on."""
    return max_replicas * 2 * ENGINE_BATCH


def request_limit(settings: Serve) -> int:
    """The limit of Serve's own queue: never reached, since requests wait at the gateways.

    A request on its way to an idle replica counts as queued, too.
    """
    return places(settings.max_replicas) + settings.max_queued_requests


def pinned_options(*arguments: object) -> dict[str, Any]:
    """Options with which Serve keeps the running replicas of a deployment until these arguments or our code change.

    Without a version of our own, Serve replaces all replicas each time an application is run.
    """
    quiet = {"log_level": "WARNING", "enable_access_log": False}  # the gateway writes a log of its own
    return {"version": f"{serving_code()}:{arguments!r}", "logging_config": quiet} | OWN_VERSION


@functools.cache
def serving_code() -> str:
    """A hash of the code, templates and assets that a replica or the gateway runs."""
    return code_hash(PROJECT / "serve", PROJECT / "pipeline" / "core", PROJECT / "pipeline" / "assets" / "picture")


def scaling(settings: Serve, min_replicas: int) -> dict[str, Any]:
    """Serve's autoscaling between min and max replicas."""
    return {
        "min_replicas": min_replicas,
        "initial_replicas": min_replicas,
        "max_replicas": max(settings.max_replicas, min_replicas),
        "target_ongoing_requests": settings.target_ongoing_requests,
        "metrics_interval_s": 1,  # how soon a sleeping bot's first request is noticed
        "look_back_period_s": 5,
        "upscale_delay_s": 0,
        "downscale_delay_s": 30,
        "downscale_to_zero_delay_s": settings.idle_seconds,
    }
