"""report.json and report.html: one row per bot, after every command; and the same as a table.

report = write(job.store, fleet.fleet, bots, seconds)
"""

import json
from typing import Any

from pipeline.core.store import Store
from pipeline.evaluate.voices import MAP
from pipeline.plan import provenance
from pipeline.plan.bots import Bot
from pipeline.report.page import FEW, page


def write(store: Store, fleet: str, bots: list[Bot], seconds: dict[str, float]) -> dict[str, Any]:
    """Writes both reports; returns what report.json holds. `seconds`: of each step of this command."""
    report = {"fleet": fleet, "seconds": seconds, "bots": [_row(bot) for bot in bots]}
    store.write("report.json", (json.dumps(report, indent=2, ensure_ascii=False) + "\n").encode())
    store.write("report.html", _page(store, report).encode())
    return report


def _row(bot: Bot) -> dict[str, Any]:
    return {
        "bot": bot.name,
        "status": bot.status,
        "reason": bot.reason,
        "warning": bot.warning,
        "version": bot.version,
        "tweets": bot.stats["tweets"],
        "metrics": bot.metrics,
        "seconds": bot.seconds,
    } | ({"log": bot.log} if bot.log else {})


def _page(store: Store, report: dict[str, Any]) -> str:
    names = [row["bot"] for row in report["bots"]]
    return page(report, store.read_json(MAP), _epochs(store, names) if len(names) <= FEW else [])


def _epochs(store: Store, bots: list[str]) -> list[tuple[str, int, float]]:
    """Of each version of the bots in the store (bot, its epochs, its share of copies), where both are known."""
    found = []
    for bot in bots:
        for version in store.versions(bot):
            settings = store.read_json(f"bots/{bot}/{version}/{provenance.FILE}").get("settings", {})
            copying = store.read_json(f"bots/{bot}/{version}/metrics.json").get("copying", {})
            if "epochs" in settings and "long_runs" in copying:
                found.append((bot, settings["epochs"], copying["long_runs"]))
    return found
