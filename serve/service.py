"""The gateway and a fleet's pool as applications of a Serve config: what a RayService brings up by itself.

    serve deploy serve.yaml          # or serveConfigV2 in cluster/kuberay/rayservice.yaml

    applications:
      - {name: gateway, import_path: "serve.service:gateway", route_prefix: /}
      - name: pool-politicians       # pool-, and the fleet's name
        import_path: serve.service:fleet
        route_prefix: null
        args: {fleet: politicians, tweets: […], storage: "s3://…", serve: {endpoint: pooled}}      # its fleet file

No bot is named: such a service is ready only when all of its applications are, and a PUT of its config replaces
the whole set. Whatever is published in the fleet's storage is served, and bots that `deploy` adds stay when the config
changes.
"""

import asyncio

from ray import serve
from ray.serve import Application
from ray.serve.handle import DeploymentHandle

from pipeline.core.errors import UsageError
from pipeline.core.fleet import Fleet
from pipeline.core.names import short_name
from pipeline.core.store import Store
from serve.deploy import bot_settings, gateway_settings
from serve.deployments import gateway as gateways
from serve.deployments import pool, registry

gateway = gateways.application()


def fleet(file: Fleet) -> Application:
    """A fleet's pool, and the deployment that has its storage followed. Raises UsageError for other kinds of fleets."""
    if file.serve.endpoint == "dedicated":
        raise UsageError("serve.endpoint: a config declares a fleet's pool, so this is `pooled` or `auto`")
    if "://" not in file.storage:
        raise UsageError(f"storage: {file.storage} is a folder; the nodes of a service share an object store (s3://…)")
    store = Store.of(file)
    return Follow.bind(pool.application(store, file.serve), file, store)  # type: ignore[attr-defined]


@serve.deployment(num_replicas=1, ray_actor_options={"num_cpus": 0})
class Follow:
    """Registers the fleet when it starts: on a new cluster nothing else does."""

    async def __init__(self, pool: DeploymentHandle, fleet: Fleet, store: Store):  # type: ignore[misc]
        settings = bot_settings(fleet)
        gateway = await asyncio.to_thread(gateway_settings, fleet, store)
        # it may not be there yet: then this waits for it
        table = serve.get_deployment_handle(registry.NAME, app_name=gateways.APP, _check_exists=False)
        bots = {
            short_name(name): {"version": one["version"], "settings": settings}
            for name, one in (await table.bots.remote(fleet.fleet)).items()
        }
        follow = {"settings": settings, "chosen": fleet.chosen}
        await table.put.remote(fleet.fleet, fleet.storage, bots, gateway, follow)
