"""A fleet becomes Serve applications: deploys what changed, tells the gateway, takes it away again.

deploy(fleet, store, {"nasa": "0123456789ab"})      # returns when every bot says ready
undeploy("politicians")
"""

import contextlib
import logging
import socket
import time
from collections.abc import Iterable
from typing import Any

from ray import serve
from ray.exceptions import RayActorError
from ray.serve.api import RunTarget

from pipeline.core.errors import UserError, one_line
from pipeline.core.fleet import Fleet
from pipeline.core.proxies import open_directly
from pipeline.core.store import Store
from serve.deployments import endpoint, gateway, pool, registry
from serve.deployments.endpoint import app_name
from serve.deployments.gateway import APP
from serve.deployments.pool import pool_name
from serve.http import keys
from serve.http.web.signature import stored_key

_READY_SECONDS = 120
_BATCH = 100  # applications in one call to Serve
_GATEWAYS = {"keys_file", "requests_per_minute", "cors_origins", "host", "port"}  # the gateway's, not the bots'


def deploy(fleet: Fleet, store: Store, versions: dict[str, str], whole: bool = True) -> dict[str, Any]:
    """Serves these versions of the fleet's bots; returns {"address", "deployed", "unchanged"}.

    Bots of the fleet that are not among them stay as they are. Where these are the `whole` of a pooled or auto
    fleet, bots that are published later are served by themselves. Raises UserError where the port is taken,
    or where another fleet serves a bot of the same name.
    """
    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    keys.load(fleet.serve)  # what is wrong with them is said before anything starts
    _start(fleet)
    table = served()
    for bot in versions:
        other = table.get(bot, {}).get("fleet", fleet.fleet)
        if other != fleet.fleet:
            raise UserError(f"bot {bot} is already served for fleet {other}; undeploy it there first")
    settings = settings_of(fleet)
    wanted = {bot: {"version": version, "settings": settings} for bot, version in versions.items()}
    names = sorted(bot for bot, one in wanted.items() if table.get(bot) != one | {"fleet": fleet.fleet})
    own = names if fleet.serve.endpoint == "dedicated" else []
    applications = {APP: gateway.application()}  # nothing happens where it runs already
    applications |= {app_name(bot): endpoint.application(bot, store, versions[bot], fleet.serve) for bot in own}
    if fleet.serve.endpoint != "dedicated" and names:
        applications[pool_name(fleet.fleet)] = pool.application(store, fleet.serve)
    kept = declared()
    targets = [
        RunTarget(application, name, "/" if name == APP else None)
        for name, application in applications.items()
        if name not in kept
    ]
    for start in range(0, len(targets), _BATCH):
        serve.run_many(targets[start : start + _BATCH])
    follow = {"settings": settings, "chosen": fleet.chosen} if fleet.serve.endpoint != "dedicated" else None
    new = {bot: wanted[bot] for bot in names}
    revision = _ask_registry("put", fleet.fleet, fleet.storage, new, wishes(fleet, store), follow, not whole)
    _wait_until_ready(fleet, versions, revision)
    _delete_unused(fleet.fleet, versions)
    address = f"http://{fleet.serve.host}:{fleet.serve.port}"
    return {"address": address, "deployed": names, "unchanged": sorted(set(versions) - set(names))}


def settings_of(fleet: Fleet) -> dict[str, Any]:
    """The `serve` section as the registry keeps it with each bot."""
    return fleet.serve.model_dump(mode="json", exclude=_GATEWAYS)


def wishes(fleet: Fleet, store: Store) -> dict[str, Any]:
    """What the fleet wants of the gateway: digests of the keys with their rates, origins for CORS, what it signs by."""
    digests = {keys.digest(key): fleet.serve.requests_per_minute for key in keys.load(fleet.serve)}
    return {"keys": digests, "origins": fleet.serve.cors_origins, "signing_key": stored_key(store)}


def undeploy(fleet: str, only: list[str] | None = None) -> list[str]:
    """Takes the fleet's bots (or `only` some of them) from Serve; ends the gateway with the last bot."""
    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    if APP not in _applications():
        return []
    gone = _ask_registry("remove", fleet, only)
    _delete_unused(fleet, gone)
    if not served() and APP not in declared():
        _wait_until_gone({app_name(bot) for bot in gone} | {pool_name(fleet)})
        serve.delete(APP)
        if not _applications():
            serve.shutdown()
    return gone


def _delete_unused(fleet: str, touched: Iterable[str]) -> None:
    """Ends the applications that none of these bots of a fleet, and no bot of its pool, needs any more."""
    bots, running = served(), set(_applications()) - declared()
    kinds = {bot: one["settings"]["endpoint"] for bot, one in bots.items()}
    unused = [app_name(bot) for bot in touched if kinds.get(bot, "pooled") == "pooled"]
    if not any(one["fleet"] == fleet and kinds[bot] != "dedicated" for bot, one in bots.items()):
        unused.append(pool_name(fleet))
    for name in unused:
        if name in running:
            serve.delete(name, _blocking=False)


def served() -> dict[str, dict[str, Any]]:
    """Every bot that is served, of all fleets: {name: {"fleet", "version", "settings"}}."""
    return _ask_registry("bots") if APP in _applications() else {}


def _ask_registry(method: str, *arguments: Any) -> Any:
    handle = serve.get_deployment_handle(registry.NAME, app_name=APP)
    try:
        return getattr(handle, method).remote(*arguments).result(timeout_s=_READY_SECONDS)
    except ValueError as error:
        raise UserError(one_line(error).removeprefix("ValueError: ")) from None


def _applications() -> dict[str, Any]:
    return dict(serve.status().applications)


def declared() -> set[str]:
    """The applications that a Serve config brought up (service.py): they are whoever wrote the config's to change."""
    if not serve.status().proxies:
        return set()
    details = serve.context._get_global_client().get_serve_details()  # type: ignore[union-attr]
    return {name for name, one in details["applications"].items() if one["source"] == "declarative"}


def _start(fleet: Fleet) -> None:
    """Starts Serve's HTTP at the fleet's host and port, unless it runs there already."""
    host, port = fleet.serve.host, fleet.serve.port
    if serve.status().proxies:
        running: Any = serve.context._get_global_client().http_config  # type: ignore[union-attr]
        if running.port != port:
            raise UserError(f"serve.port: Serve already runs on this cluster at port {running.port}, not {port}")
        return
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise UserError(f"serve.port: {host}:{port} cannot be used ({error.strerror}); choose another") from None
    # On a busy machine Serve gives up on an HTTP proxy that is slow to start, and starts another: HTTP itself is
    # waited for at the end.
    with contextlib.suppress(RayActorError):
        serve.start(
            http_options={"host": host, "port": port},
            logging_config={"log_level": "WARNING", "enable_access_log": False},  # the gateway writes its own
        )


def _wait_until_ready(fleet: Fleet, versions: dict[str, str], revision: int) -> None:
    """Until HTTP answers and the gateway, at this revision, says that every bot is ready; asking wakes no replica."""
    host = "127.0.0.1" if fleet.serve.host in ("0.0.0.0", "::") else fleet.serve.host
    handle = serve.get_app_handle(APP)
    deadline = time.monotonic() + _READY_SECONDS
    listening, waiting = False, dict(versions)
    known = -1
    while not listening or waiting or known < revision:
        listening = listening or _answers(f"http://{host}:{fleet.serve.port}/health")
        known, said = handle.says.remote(list(waiting)).result(timeout_s=_READY_SECONDS)
        if known >= revision:
            waiting = {bot: version for bot, version in waiting.items() if said.get(bot) != version}
        if not listening or waiting or known < revision:
            if time.monotonic() > deadline:
                what = sorted(waiting)[0] if waiting else "HTTP"
                raise UserError(f"{what} was not ready after {_READY_SECONDS} seconds; see Serve's logs")
            time.sleep(0.05)


def _answers(url: str) -> bool:
    try:
        with open_directly(url, timeout=10) as reply:
            return reply.status == 200
    except OSError:  # not listening yet
        return False


def _wait_until_gone(names: set[str]) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    while names & set(_applications()) and time.monotonic() < deadline:
        time.sleep(0.1)
