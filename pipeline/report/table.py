"""The report as a table on a terminal."""

from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from pipeline.report.page import went_on

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
