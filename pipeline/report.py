"""report.json and report.html: one row per bot, after every command; and the same as a table.

report = write(job.store, fleet.fleet, bots, seconds)
"""

import html
import json
from typing import Any

from rich.table import Table

from pipeline.plan import Bot
from pipeline.store import Store


def write(store: Store, fleet: str, bots: list[Bot], seconds: dict[str, float]) -> dict[str, Any]:
    """Writes both reports; returns what report.json holds. `seconds`: of each step of this command."""
    report = {"fleet": fleet, "seconds": seconds, "bots": [_row(bot) for bot in bots]}
    store.write("report.json", (json.dumps(report, indent=2, ensure_ascii=False) + "\n").encode())
    store.write("report.html", _page(report).encode())
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
    }


COLUMNS = ("bot", "status", "version", "tweets kept", "loss before", "loss after", "remark")


def cells(row: dict[str, Any]) -> list[str]:
    """A report's row as text, one cell for each of COLUMNS."""
    kept = sum(counts["kept"] for counts in row["tweets"].values())
    measured = row["metrics"].get("held_out", {})
    before, after = (f"{measured[key]:.3f}" if key in measured else "" for key in ("base_loss", "loss"))
    remark = row["reason"] or row["warning"] or ""
    return [row["bot"], row["status"], row["version"] or "", f"{kept:,}", before, after, remark]


def table(report: dict[str, Any], extra: dict[str, str] | None = None) -> Table:
    """The report for a terminal; `extra`: each bot's endpoint."""
    shown = Table(title=f"fleet {report['fleet']}", title_justify="left")
    for column in (*COLUMNS, *(["endpoint"] if extra is not None else [])):
        numbers = column.startswith(("tweets", "loss"))
        shown.add_column(
            column, justify="right" if numbers else "left", no_wrap=column in ("bot", "version", "endpoint")
        )
    for row in report["bots"]:
        shown.add_row(*cells(row), *([extra.get(row["bot"], "")] if extra is not None else []))
    return shown


def _page(report: dict[str, Any]) -> str:
    head = "".join(f"<th>{column}</th>" for column in COLUMNS)
    rows = "".join(
        "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells(row)) + "</tr>\n" for row in report["bots"]
    )
    style = (
        "body{font:15px system-ui;margin:2rem}table{border-collapse:collapse}"
        "td,th{padding:.3rem .8rem;text-align:left;border-bottom:1px solid #ddd}"
    )
    name = html.escape(report["fleet"])
    return (
        f"<!doctype html><meta charset=utf-8><title>fleet {name}</title><style>{style}</style>\n"
        f"<h1>fleet {name}</h1>\n<table><tr>{head}</tr>\n{rows}</table>\n"
    )
