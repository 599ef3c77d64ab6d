"""The state of a fleet: the last report, brought up to date with the store, and each bot's endpoint.

report, endpoints = status(fleet)        # endpoints == {"nasa": "http://127.0.0.1:8000/bots/nasa"}
add_served(report, fleet)                # report["bots"][0]["serves"] == "0123456789ab"
"""

import json
import urllib.parse
import urllib.request
from typing import NamedTuple, cast

from pipeline.core import cycle_collector, manifest
from pipeline.core.errors import UserError
from pipeline.core.fleet import Fleet
from pipeline.core.names import short_name
from pipeline.core.proxies import open_directly
from pipeline.core.store import Store
from pipeline.report.rows import Report
from serve.http.keys import bearer

_SECONDS = 2.0  # to wait for a gateway's answer
_PAGE = 1000  # bots in one answer


def status(fleet: Fleet, only: list[str] | None = None) -> tuple[Report, dict[str, str]]:
    """report.json with the published and the served version in each row, and the address of each served bot.

    `only` limits the rows to these bots. Raises UserError if no command has run on the fleet yet.
    """
    store = Store.of(fleet)
    with cycle_collector.paused():
        report = cast(Report, store.read_json("report.json"))
    if not report:
        raise UserError(f"fleet {fleet.fleet}: there is no report yet; `huggingtweets run` makes one")
    report["bots"] = [row for row in report["bots"] if only is None or row["bot"] in only]
    current = manifest.published(store, [row["bot"] for row in report["bots"]])
    for row in report["bots"]:
        row["current"] = current.get(row["bot"])
    return report, add_served(report, fleet)


def add_served(report: Report, fleet: Fleet) -> dict[str, str]:
    """Puts the version that each bot's endpoint answers with into its row as `serves`; returns the bots' addresses.

    A row whose `version` is another one gets the published version as `current`, too.
    """
    listed = _listed(fleet)
    for row in report["bots"]:
        row["serves"] = listed[row["bot"]].version if row["bot"] in listed else None
    behind = [row for row in report["bots"] if row["serves"] not in (None, row["version"]) and "current" not in row]
    current = manifest.published(Store.of(fleet), [row["bot"] for row in behind])
    for row in behind:
        row["current"] = current.get(row["bot"])
    return {bot: f"{_address(fleet)}/bots/{one.name}" for bot, one in listed.items()}


def served(fleet: Fleet) -> dict[str, str]:
    """The version of each bot of this fleet that the gateway serves; empty if no gateway answers."""
    return {bot: one.version for bot, one in _listed(fleet).items()}


class _Listed(NamedTuple):
    """A bot in `GET /bots`."""

    name: str  # under which it is served: the bot's own, or bot@fleet
    version: str


def _listed(fleet: Fleet) -> dict[str, _Listed]:
    """The bots of this fleet that the gateway serves, by their own names; empty if no gateway answers."""
    found: dict[str, _Listed] = {}
    cursor: str | None = ""
    while cursor is not None:
        query = urllib.parse.urlencode({"limit": _PAGE, "cursor": cursor})
        try:
            request = urllib.request.Request(f"{_address(fleet)}/bots?{query}", headers=bearer(fleet.serve))
            with open_directly(request, timeout=_SECONDS) as reply:
                page = json.load(reply)
            own = [_Listed(bot["name"], bot["version"]) for bot in page["bots"] if bot["fleet"] == fleet.fleet]
            found |= {short_name(one.name): one for one in own}
            cursor = page["next"]
        except (OSError, ValueError, KeyError, TypeError):
            return found
    return found


def _address(fleet: Fleet) -> str:
    return f"http://{fleet.serve.host}:{fleet.serve.port}"
