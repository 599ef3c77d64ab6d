"""A bot's own Serve deployment: it holds one model and answers concurrent requests as one batch.

    serve.run(application(...), name="bot-nasa", route_prefix=None)
    serve.get_app_handle("bot-nasa").generate.remote("My dream is", {}).result()

The deployment has no HTTP of its own: the gateway calls it through its handle.
"""

import asyncio
import tempfile
from pathlib import Path
from typing import Any

from ray import serve
from ray.serve import Application

from pipeline.errors import one_line
from pipeline.settings import Serve
from pipeline.store import Store

ENGINE_BATCH = 32  # sequences that one replica decodes together


@serve.deployment
class BotEndpoint:
    def __init__(self, bot: str, store: Store, folder: str):
        import torch

        from serve.engine import Engine, EngineThread

        torch.set_num_threads(1)  # more make a small model slower, and a host serves many bots
        self.bot, self.problem = bot, ""
        try:
            with tempfile.TemporaryDirectory() as scratch:
                self.thread = EngineThread(Engine(store.fetch(folder, Path(scratch)), ENGINE_BATCH))
        except Exception as error:
            # a replica that fails to start is started again for ever; one that says why answers at once
            self.problem = one_line(error)

    async def generate(self, prompt: str, parameters: dict[str, Any]) -> dict[str, Any]:
        """{"choices": [{"text", "tokens", "finish_reason"}, …]} or {"error": [code, type, message]}."""
        from serve.engine import Request
        from serve.schema import Parameters

        if self.problem:
            return {"error": [503, "bot_unavailable", f"the model of {self.bot} does not load: {self.problem}"]}
        request = Request(prompt, Parameters(**parameters))
        try:
            choices = await asyncio.wrap_future(self.thread.submit(request))
        except ValueError as error:
            return {"error": [422, "validation_error", str(error)]}
        except asyncio.CancelledError:
            request.cancelled = True
            raise
        return {"choices": [vars(choice) for choice in choices]}


def application(bot: str, store: Store, folder: str, settings: Serve) -> Application:
    """The application that serves one version of a bot, scaled by its requests between min and max."""
    return BotEndpoint.options(  # type: ignore[attr-defined]
        ray_actor_options={"num_cpus": settings.cpus_per_replica, "num_gpus": settings.gpus_per_replica},
        max_ongoing_requests=2 * ENGINE_BATCH,
        max_queued_requests=settings.max_queued_requests,
        graceful_shutdown_timeout_s=settings.deadline_seconds,
        autoscaling_config={
            "min_replicas": settings.min_replicas,
            "initial_replicas": settings.min_replicas,
            "max_replicas": settings.max_replicas,
            "target_ongoing_requests": settings.target_ongoing_requests,
            "metrics_interval_s": 1,  # how soon a sleeping bot's first request is noticed
            "look_back_period_s": 5,
            "upscale_delay_s": 0,
            "downscale_delay_s": 30,
            "downscale_to_zero_delay_s": settings.idle_seconds,
        },
    ).bind(bot, store, folder)
