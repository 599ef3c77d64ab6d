"""A fleet becomes Serve applications: deploys what changed, tells the gateway, takes it away again.

deploy(fleet, store, {"nasa": "0123456789ab"})      # returns when every bot says ready
undeploy("politicians")
"""

import contextlib
import json
import logging
import socket
import time
import urllib.request
from typing import Any

from ray import serve
from ray.serve.api import RunTarget

from pipeline.errors import UserError
from pipeline.fleet import Fleet
from pipeline.plan import read_json
from pipeline.store import Store
from serve.endpoint import application
from serve.gateway import APP, Gateway, app_name

_READY_SECONDS = 120
_BATCH = 100  # applications in one call to Serve


def deploy(fleet: Fleet, store: Store, versions: dict[str, str]) -> dict[str, Any]:
    """Serves these versions of the fleet's bots; returns {"address", "deployed", "unchanged"}.

    Bots of the fleet that are not among them stay as they are. Raises UserError where the port is taken,
    or where another fleet serves a bot of the same name.
    """
    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    _start(fleet)
    table = served()
    for bot in versions:
        other = table.get(bot, {}).get("fleet", fleet.fleet)
        if other != fleet.fleet:
            raise UserError(f"bot {bot} is already served for fleet {other}; undeploy it there first")
    settings = fleet.serve.model_dump(mode="json")
    changed = {
        bot: version
        for bot, version in versions.items()
        if (table.get(bot, {}).get("version"), table.get(bot, {}).get("settings")) != (version, settings)
    }
    names = sorted(changed)
    for start in range(0, len(names), _BATCH):
        targets = [
            RunTarget(application(bot, store, f"bots/{bot}/{changed[bot]}", fleet.serve), app_name(bot), None)
            for bot in names[start : start + _BATCH]
        ]
        serve.run_many(targets)
    table |= {bot: _entry(fleet, store, bot, version, settings) for bot, version in changed.items()}
    _tell_gateway(table)
    address = f"http://{fleet.serve.host}:{fleet.serve.port}"
    _wait_until_ready(fleet, versions)
    return {"address": address, "deployed": names, "unchanged": sorted(set(versions) - set(changed))}


def undeploy(fleet: str, only: list[str] | None = None) -> list[str]:
    """Takes the fleet's bots (or `only` some of them) from Serve; ends the gateway with the last bot."""
    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    table = served()
    gone = [bot for bot, entry in table.items() if entry["fleet"] == fleet and (only is None or bot in only)]
    left = {bot: entry for bot, entry in table.items() if bot not in gone}
    if gone:
        _tell_gateway(left)
        for bot in gone:
            serve.delete(app_name(bot), _blocking=False)
    if not left and _applications():
        _wait_until_gone({app_name(bot) for bot in gone})
        if APP in _applications():
            serve.delete(APP)
        if not _applications():
            serve.shutdown()
    return gone


def served() -> dict[str, dict[str, Any]]:
    """The gateway's table: every bot that is served, of all fleets."""
    if APP not in _applications():
        return {}
    return serve.get_app_handle(APP).table.remote().result(timeout_s=30)


def _applications() -> dict[str, Any]:
    return dict(serve.status().applications)


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
    serve.start(http_options={"host": host, "port": port}, logging_config={"log_level": "WARNING"})


def _entry(fleet: Fleet, store: Store, bot: str, version: str, settings: dict[str, Any]) -> dict[str, Any]:
    stats = read_json(store, f"bots/{bot}/{version}/stats.json")
    return {
        "fleet": fleet.fleet,
        "version": version,
        "handles": bot.split("-"),
        "counts": stats.get("tweets", {}),
        "metrics": read_json(store, f"bots/{bot}/{version}/metrics.json"),
        "ready": True,
        "deadline_seconds": fleet.serve.deadline_seconds,
        "settings": settings,
    }


def _tell_gateway(table: dict[str, dict[str, Any]]) -> None:
    """Gives the gateway its table; a running gateway takes it over without a restart."""
    gateway = Gateway.options(user_config={"bots": table})  # type: ignore[attr-defined]
    serve.run(gateway.bind(), name=APP, route_prefix="/")


def _wait_until_ready(fleet: Fleet, versions: dict[str, str]) -> None:
    """Until HTTP itself says that every bot is ready in its version; asking wakes no replica."""
    host = "127.0.0.1" if fleet.serve.host in ("0.0.0.0", "::") else fleet.serve.host
    deadline = time.monotonic() + _READY_SECONDS
    waiting = set(versions)
    while waiting:
        with contextlib.suppress(OSError):  # not listening yet
            waiting -= {bot for bot in waiting if _says_ready(f"http://{host}:{fleet.serve.port}", bot, versions[bot])}
        if waiting and time.monotonic() > deadline:
            raise UserError(f"{sorted(waiting)[0]} was not ready after {_READY_SECONDS} seconds; see Serve's logs")
        if waiting:
            time.sleep(0.1)


def _says_ready(address: str, bot: str, version: str) -> bool:
    with urllib.request.urlopen(f"{address}/bots/{bot}", timeout=10) as reply:
        about = json.load(reply)
    return about["ready"] and about["version"] == version


def _wait_until_gone(names: set[str]) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    while names & set(_applications()) and time.monotonic() < deadline:
        time.sleep(0.1)
