"""Deploys a fleet as Serve applications, and removes it.

deploy(fleet, store, {"nasa": "0123456789ab"})      # returns when every bot is ready
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

from pipeline.core import signing_keys, watermark_keys
from pipeline.core.errors import UserError, one_line
from pipeline.core.fleet import Fleet
from pipeline.core.names import served_name
from pipeline.core.proxies import open_directly
from pipeline.core.store import Store
from serve.deployments import endpoint, gateway, pool, ray_internals, registry
from serve.deployments.change_lock import change_lock
from serve.deployments.endpoint import app_name
from serve.deployments.gateway import APP
from serve.deployments.pool import pool_name
from serve.deployments.saved_state import BotRecord, GatewaySettings, NewBots, ServedBot
from serve.http import keys
from serve.http.web import old_links

_READY_SECONDS = 120
_STALL_SECONDS = 600.0  # an autoscaler may have to start machines
_LOCK_SECONDS = 900.0  # for another command that deploys to this cluster
_POLL_SECONDS = 0.3
_BATCH = 100  # applications in one call to Serve
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_GATEWAY_KEYS = {"keys_file", "requests_per_minute", "cors_origins", "host", "port"}  # of `serve`: not of a bot


def deploy(fleet: Fleet, store: Store, versions: dict[str, str], whole: bool = True) -> dict[str, Any]:
    """Serves these versions of the fleet's bots; returns {"address", "host", "deployed", "unchanged", "opened"}.

    "host" is where Serve listens: that of the fleet that was deployed first, which may be wider than `serve.host`.
    "opened" says that the fleet required a key until now, and has none any more.
    Other bots of the fleet stay as they are. A new version of a bot that is published later is served without another
    deploy, and so is a new bot of a pooled or auto fleet that was deployed as a `whole`.
    Raises UserError if the port is taken, if Serve runs at another port or out of the reach that `serve.host` asks for,
    or if another fleet serves a bot of the same name.
    """
    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    keys.load(fleet.serve)  # raises before anything starts
    with change_lock(_LOCK_SECONDS):
        return _deploy(fleet, store, versions, whole)


def _deploy(fleet: Fleet, store: Store, versions: dict[str, str], whole: bool) -> dict[str, Any]:
    host = _start(fleet)
    table = served()
    served_names = {bot: served_name(bot, fleet.fleet, fleet.serve.full_names) for bot in versions}
    for bot, name in served_names.items():
        if name in table and table[name]["fleet"] != fleet.fleet:
            raise UserError(
                f"bot {bot} is already served for fleet {table[name]['fleet']}; undeploy it there first, or serve this "
                f"one beside it as {bot}@{fleet.fleet} (serve.full_names: true)"
            )
    settings = bot_settings(fleet)
    wanted: dict[str, BotRecord] = {bot: {"version": one, "settings": settings} for bot, one in versions.items()}
    changed = sorted(
        bot for bot, name in served_names.items() if {**table.get(name, {}), **wanted[bot]} != table.get(name)
    )
    own = changed if fleet.serve.endpoint == "dedicated" else []
    applications = {APP: gateway.application()}  # one that runs already is left as it is
    for bot in own:
        name = app_name(served_names[bot])
        applications[name] = endpoint.application(bot, store, versions[bot], fleet.serve)
    if fleet.serve.endpoint != "dedicated" and changed:
        applications[pool_name(fleet.fleet)] = pool.application(store, fleet.serve)
    declared = _declared()
    targets = [
        RunTarget(application, name, "/" if name == APP else None)
        for name, application in applications.items()
        if name not in declared
    ]
    for start in range(0, len(targets), _BATCH):
        _run(targets[start : start + _BATCH])
    follow = None if fleet.serve.endpoint == "dedicated" else NewBots(settings=settings, chosen=fleet.chosen)
    new, gateway_now = {bot: wanted[bot] for bot in changed}, gateway_settings(fleet, store)
    opened = bool(table) and not gateway_now["keys"] and _ask_registry("requires_key", fleet.fleet)
    revision = _ask_registry("put", fleet.fleet, fleet.storage, new, gateway_now, follow, not whole)
    _wait_until_ready(fleet, {served_names[bot]: version for bot, version in versions.items()}, revision)
    _delete_unused(fleet.fleet, versions)
    address = f"http://{fleet.serve.host}:{fleet.serve.port}"
    unchanged = sorted(set(versions) - set(changed))
    return {"address": address, "host": host, "deployed": changed, "unchanged": unchanged, "opened": opened}


def bot_settings(fleet: Fleet) -> dict[str, Any]:
    """The `serve` section as the registry keeps it with each bot."""
    return fleet.serve.model_dump(mode="json", exclude=_GATEWAY_KEYS)


def gateway_settings(fleet: Fleet, store: Store) -> GatewaySettings:
    """What the fleet wants of the gateway."""
    rates = dict.fromkeys(map(keys.digest, keys.load(fleet.serve)), fleet.serve.requests_per_minute)
    return {
        "keys": {**rates},
        "origins": fleet.serve.cors_origins,
        "signing_key": old_links.stored_key(store),
        "answer_keys": [key.record for key in signing_keys.load_or_create(store).keys],
        "watermark": watermark_keys.secret_in_use(store).hex() if fleet.serve.watermark else None,
    }


def undeploy(fleet: str, only: list[str] | None = None) -> list[str]:
    """Removes the fleet's bots, or `only` these, and returns their names; the gateway ends with the last bot."""
    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    with change_lock(_LOCK_SECONDS):
        return _undeploy(fleet, only)


def _undeploy(fleet: str, only: list[str] | None) -> list[str]:
    if APP not in _applications():
        return []
    gone = _ask_registry("remove", fleet, only)
    _delete_unused(fleet, gone)
    if not served() and APP not in _declared():
        _wait_until_gone({*_own_applications(fleet, gone), pool_name(fleet)})
        serve.delete(APP)
        if not _applications():
            serve.shutdown()
    return gone


def _run(targets: list[RunTarget]) -> None:
    """Runs these applications, and waits until all do.

    Raises UserError where one fails, or where none more became ready for _STALL_SECONDS.
    """
    if not targets:
        return
    serve.run_many(targets, wait_for_applications_running=False)
    waiting, deadline = {target.name for target in targets}, time.monotonic() + _STALL_SECONDS
    while waiting:
        asked = time.monotonic()
        found = serve.status().applications
        if failed := [name for name in sorted(waiting) if name in found and found[name].status == "DEPLOY_FAILED"]:
            raise UserError(f"{failed[0]} cannot be deployed: {' '.join(found[failed[0]].message.split())[-500:]}")
        running = {name for name in waiting if name in found and found[name].status == "RUNNING"}
        if running:
            waiting, deadline = waiting - running, time.monotonic() + _STALL_SECONDS
        elif time.monotonic() > deadline:
            raise UserError(f"{min(waiting)} was not ready after {_STALL_SECONDS:.0f} seconds; see Serve's logs")
        # with many applications the question itself keeps Serve's controller from starting them
        time.sleep(max(_POLL_SECONDS, 5 * (time.monotonic() - asked)))


def _delete_unused(fleet: str, touched: Iterable[str]) -> None:
    """Ends the applications that none of these bots of a fleet, and no bot of its pool, needs any more."""
    bots, running = served(), set(_applications()) - _declared()
    kinds = {name: one["settings"]["endpoint"] for name, one in bots.items()}
    needed = {app_name(name) for name, kind in kinds.items() if kind != "pooled"}
    unused = [name for name in _own_applications(fleet, touched) if name not in needed]
    if not any(one["fleet"] == fleet and kinds[name] != "dedicated" for name, one in bots.items()):
        unused.append(pool_name(fleet))
    for name in unused:
        if name in running:
            serve.delete(name, _blocking=False)


def _own_applications(fleet: str, bots: Iterable[str]) -> list[str]:
    """The names of the applications that these bots of a fleet may have, under their short and their full names."""
    return [app_name(served_name(bot, fleet, full)) for bot in bots for full in (False, True)]


def served() -> dict[str, ServedBot]:
    """Every bot that is served, of all fleets, by the name under which it is served."""
    return _ask_registry("bots") if APP in _applications() else {}


def _ask_registry(method: str, *arguments: Any) -> Any:
    handle = serve.get_deployment_handle(registry.NAME, app_name=APP)
    try:
        return getattr(handle, method).remote(*arguments).result(timeout_s=_READY_SECONDS)
    except ValueError as error:
        raise UserError(one_line(error).removeprefix("ValueError: ")) from None


def _applications() -> dict[str, Any]:
    return dict(serve.status().applications)


def _declared() -> set[str]:
    """The applications that a Serve config brought up (service.py): only a new config may change them."""
    return ray_internals.declared_applications() if serve.status().proxies else set()


def is_public(host: str) -> bool:
    """Whether other machines reach what listens at this host."""
    return host not in _LOOPBACK


def _start(fleet: Fleet) -> str:
    """Starts Serve's HTTP at the fleet's host and port, unless it runs already; returns the host it listens at."""
    host, port = fleet.serve.host, fleet.serve.port
    if serve.status().proxies:
        running_host, running_port = ray_internals.http_address()
        if running_port != port:
            raise UserError(f"serve.port: Serve already runs on this cluster at port {running_port}, not {port}")
        if is_public(host) and not is_public(running_host):
            raise UserError(
                f"serve.host: Serve already runs on this cluster at {running_host}, where other machines do not reach "
                f"it; undeploy what it serves, then deploy at {host}"
            )
        return running_host
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise UserError(f"serve.port: {host}:{port} cannot be used ({error.strerror}); choose another") from None
    # On a busy machine Serve gives up on an HTTP proxy that is slow to start, and starts another; `deploy` waits for
    # HTTP at its end.
    with contextlib.suppress(RayActorError):
        serve.start(
            http_options={"host": host, "port": port},
            logging_config={"log_level": "WARNING", "enable_access_log": False},  # the gateway writes its own
        )
    return host


def _wait_until_ready(fleet: Fleet, versions: dict[str, str], revision: int) -> None:
    """Waits until HTTP answers and the gateway knows this revision and these versions, by the names that are served.

    Asking wakes no replica.
    """
    host = "127.0.0.1" if fleet.serve.host in ("0.0.0.0", "::") else fleet.serve.host
    handle = serve.get_app_handle(APP)
    deadline = time.monotonic() + _READY_SECONDS
    listening, waiting = False, dict(versions)
    known = -1
    while not listening or waiting or known < revision:
        listening = listening or _answers(f"http://{host}:{fleet.serve.port}/health")
        known, found = handle.versions.remote(list(waiting)).result(timeout_s=_READY_SECONDS)
        if known >= revision:
            waiting = {bot: version for bot, version in waiting.items() if found.get(bot) != version}
        if not listening or waiting or known < revision:
            if time.monotonic() > deadline:
                what = sorted(waiting)[0] if waiting else "HTTP"
                raise UserError(f"{what} was not ready after {_READY_SECONDS} seconds; see Serve's logs")
            time.sleep(_POLL_SECONDS / 3)


def _answers(url: str) -> bool:
    try:
        with open_directly(url, timeout=10) as reply:
            return reply.status == 200
    except OSError:  # not listening yet
        return False


def _wait_until_gone(names: set[str]) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    while names & set(_applications()) and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
