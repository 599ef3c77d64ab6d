"""The state of a fleet: the last report, brought up to date with the store, and each bot's endpoint.

report, endpoints = status(fleet)        # endpoints == {"nasa": "http://127.0.0.1:8000/bots/nasa"}
add_served(report, fleet)                # report["bots"][0]["serves"] == "0123456789ab"
"""

import json
import urllib.parse
import urllib.request
from typing import cast

from pipeline.core import cycle_collector, manifest
from pipeline.core.errors import UserError
from pipeline.core.fleet import Fleet
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
    versions = add_served(report, fleet)
    return report, {bot: f"{_address(fleet)}/bots/{bot}" for bot in versions}


def add_served(report: Report, fleet: Fleet) -> dict[str, str]:
    """Puts the version that each bot's endpoint answers with into its row as `serves`; returns what `served` does.

    A row whose `version` is another one gets the published version as `current`, too.
    """
    versions = served(fleet)
    for row in report["bots"]:
        row["serves"] = versions.get(row["bot"])
    behind = [row for row in report["bots"] if row["serves"] not in (None, row["version"]) and "current" not in row]
    current = manifest.published(Store.of(fleet), [row["bot"] for row in behind])
    for row in behind:
        row["current"] = current.get(row["bot"])
    return versions


def served(fleet: Fleet) -> dict[str, str]:
    """The version of each bot of this fleet that the gateway serves; empty if no gateway answers."""
    versions: dict[str, str] = {}
    cursor: str | None = ""
    while cursor is not None:
        query = urllib.parse.urlencode({"limit": _PAGE, "cursor": cursor})
        try:
            request = urllib.request.Request(f"{_address(fleet)}/bots?{query}", headers=bearer(fleet.serve))
            with open_directly(request, timeout=_SECONDS) as reply:
                page = json.load(reply)
            versions |= {bot["name"]: bot["version"] for bot in page["bots"] if bot["fleet"] == fleet.fleet}
            cursor = page["next"]
        except (OSError, ValueError, KeyError, TypeError):
            return versions
    return versions


def _address(fleet: Fleet) -> str:
    return f"http://{fleet.serve.host}:{fleet.serve.port}"
