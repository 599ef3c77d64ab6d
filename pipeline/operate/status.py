"""What `status` tells: the last report, brought up to date with the store, and each bot's endpoint."""

import json
import urllib.parse
import urllib.request
from typing import Any

from pipeline.core.errors import UserError
from pipeline.core.fleet import Fleet
from pipeline.core.store import Store
from serve.http.keys import bearer

_SECONDS = 2.0  # to wait for a gateway's answer
_PAGE = 1000


def status(fleet: Fleet, only: list[str] | None = None) -> tuple[dict[str, Any], dict[str, str]]:
    """The report's rows, with the version in use, and {bot: endpoint} of those that are served."""
    store = Store.of(fleet)
    report = store.read_json("report.json")
    if not report:
        raise UserError(f"fleet {fleet.fleet}: nothing was done yet; `huggingtweets run` begins")
    report["bots"] = [row for row in report["bots"] if only is None or row["bot"] in only]
    for row in report["bots"]:
        row["current"] = store.current_version(row["bot"])
    return report, endpoints(fleet)


def endpoints(fleet: Fleet) -> dict[str, str]:
    """The address of each bot of this fleet that the gateway serves; empty where no gateway answers."""
    return {bot: f"{_address(fleet)}/bots/{bot}" for bot in served(fleet)}


def served(fleet: Fleet) -> dict[str, str]:
    """The version of each bot of this fleet that the gateway serves; empty where no gateway answers."""
    found: dict[str, str] = {}
    cursor: str | None = ""
    while cursor is not None:
        query = urllib.parse.urlencode({"limit": _PAGE, "cursor": cursor})
        try:
            request = urllib.request.Request(f"{_address(fleet)}/bots?{query}", headers=bearer(fleet.serve))
            with urllib.request.urlopen(request, timeout=_SECONDS) as reply:
                page = json.load(reply)
            found |= {bot["name"]: bot["version"] for bot in page["bots"] if bot["fleet"] == fleet.fleet}
            cursor = page["next"]
        except (OSError, ValueError, KeyError, TypeError):
            return found
    return found


def _address(fleet: Fleet) -> str:
    return f"http://{fleet.serve.host}:{fleet.serve.port}"
