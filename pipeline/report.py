"""report.json and report.html: one row per bot, after every command; and the same as a table.

report = write(job.store, fleet.fleet, bots, seconds)
"""

import json
import re
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from pipeline import provenance
from pipeline.plan import Bot, read_json
from pipeline.report_page import FEW, page, went_on
from pipeline.store import Store
from pipeline.voices import MAP


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


_VERSION = re.compile(r"[0-9a-f]{12}")
COLUMNS = ("bot", "status", "version", "tweets kept", "loss before", "loss after", "voice", "copies")


def cells(row: dict[str, Any]) -> list[str]:
    """A report's row as text, one cell for each of COLUMNS."""
    kept = sum(counts["kept"] for counts in row["tweets"].values())
    measured = row["metrics"].get("held_out", {})
    before, after = (f"{measured[key]:.3f}" if key in measured else "" for key in ("base_loss", "loss"))
    voice, copies = row["metrics"].get("voice", {}).get("top1"), row["metrics"].get("copying", {}).get("long_runs")
    shares = ["" if share is None else f"{share:.0%}" for share in (voice, copies)]
    return [row["bot"], row["status"], row["version"] or "", f"{kept:,}", before, after, *shares]


def show(console: Console, report: dict[str, Any], endpoints: dict[str, str] | None = None) -> None:
    """The report on a terminal: a table in 80 columns, then the endpoints and remarks that there are."""
    shown = Table(title=f"fleet {report['fleet']}", title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column in COLUMNS:
        numbers = column.startswith(("tweets", "loss", "voice", "copies"))
        shown.add_column(column, justify="right" if numbers else "left", no_wrap=column in ("bot", "status", "version"))
    for row in report["bots"]:
        shown.add_row(*cells(row))
    console.print(shown)
    for row in report["bots"]:
        for text in ((endpoints or {}).get(row["bot"]), row["reason"] or row["warning"], went_on(row["metrics"])):
            if text:
                console.print(f"{row['bot']}: {text}", markup=False, soft_wrap=True)


def _page(store: Store, report: dict[str, Any]) -> str:
    names = [row["bot"] for row in report["bots"]]
    return page(report, read_json(store, MAP), _epochs(store, names) if len(names) <= FEW else [])


def _epochs(store: Store, bots: list[str]) -> list[tuple[str, int, float]]:
    """Of each version of the bots in the store (bot, its epochs, its share of copies), where both are known."""
    found = []
    for bot in bots:
        for version in filter(_VERSION.fullmatch, store.list(f"bots/{bot}")):
            settings = read_json(store, f"bots/{bot}/{version}/{provenance.FILE}").get("settings", {})
            copying = read_json(store, f"bots/{bot}/{version}/metrics.json").get("copying", {})
            if "epochs" in settings and "long_runs" in copying:
                found.append((bot, settings["epochs"], copying["long_runs"]))
    return found
