"""The report as a table on a terminal.

show(Console(stderr=True), report, only=["nasa"])
"""

from collections.abc import Mapping, Sequence
from statistics import median

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.table import Table

from pipeline.report.rows import Report, ReportRow, continuation, kept, metric, metric_values, outdated

COLUMNS = ("bot", "status", "version", "tweets kept", "loss before", "loss after", "voice", "copied runs")
_TEXT_COLUMNS = ("bot", "status", "version")  # the others are numbers
_GAP = 2  # columns of the terminal between two columns of the table
_LISTED = 1000  # bots in the table
_SHORTEST_NAME = 12  # columns that a bot's name gets on the narrowest terminal


def cells(row: ReportRow) -> list[str]:
    """A row of the report as text, one cell for each of COLUMNS; empty if nothing is known."""
    before, after = (_formatted(metric(row, "held_out", key), ".3f") for key in ("base_loss", "loss"))
    voice, copied = (_formatted(metric(row, *of), ".0%") for of in (("voice", "top1"), ("copying", "long_runs")))
    return [row["bot"], row["status"], row["version"] or "", f"{kept(row):,}", before, after, voice, copied]


def show(
    console: Console,
    report: Report,
    endpoints: Mapping[str, str] | None = None,
    only: Sequence[str] | None = None,
) -> None:
    """Prints the report: a table as wide as the terminal, then endpoints and remarks, then one line of warnings.

    Of more than 1,000 bots the first are shown, failed ones before others.
    `endpoints`: the address of each bot that is served, or None to show only that some serve an older version; `only`:
    the bots to show (`--bots`), or None for all.
    Names are shortened where the terminal is narrow; numbers never are.
    """
    rows = [row for row in report["bots"] if only is None or row["bot"] in only]
    left_out = len(report["bots"]) - len(rows)
    title = f"fleet {report['fleet']}" + (f": {len(rows)} of {len(report['bots'])} bots" if left_out else "")
    listed = rows if len(rows) <= _LISTED else sorted(rows, key=lambda row: row["status"] != "failed")[:_LISTED]
    console.print(_table(title, listed, console.width))
    if len(rows) > _LISTED:
        console.print(f"and {len(rows) - _LISTED:,} bots more; report.json has all of them", markup=False)
    for row in listed:
        address = (endpoints or {}).get(row["bot"])
        endpoint = ", ".join(text for text in (address, outdated(row)) if text and address)
        for text in (endpoint, row["reason"], continuation(row["metrics"])):
            if text:
                console.print(f"{row['bot']}: {text}", markup=False, soft_wrap=True)
    for line in (_told_apart(rows), _warning(rows), _outdated(rows) if endpoints is None else ""):
        if line:
            console.print(line, markup=False, soft_wrap=True)


def _table(title: str, rows: Sequence[ReportRow], width: int) -> Table:
    texts = [cells(row) for row in rows]
    headers = [column.replace(" ", "\n") for column in COLUMNS]
    columns = zip(headers, *texts, strict=True)
    widths = [max(cell_len(text) for text in [*header.split("\n"), *column]) for header, *column in columns]
    for_names = max(_SHORTEST_NAME, width - sum(widths[1:]) - _GAP * (len(COLUMNS) - 1))
    table = Table(
        title=title, title_justify="left", box=SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0), pad_edge=False
    )
    for name, header in zip(COLUMNS, headers, strict=True):
        table.add_column(header, justify="left" if name in _TEXT_COLUMNS else "right", no_wrap=True)
    for name, *others in texts:
        table.add_row(_shortened(name, for_names), *others)
    return table


def _shortened(name: str, width: int) -> str:
    return name if cell_len(name) <= width else set_cell_size(name, width - 1) + "…"


def _told_apart(rows: Sequence[ReportRow]) -> str:
    """How often a detector tells bots from their people, in one line."""
    found = metric_values(rows, "real_or_bot", "accuracy")
    if not found:
        return ""
    of = "samples are told from real tweets" if len(found) == 1 else "samples are told from real tweets, in the median,"
    return f"{of} {median(found):.0%} of the time (50% would be perfect)"


def _warning(rows: Sequence[ReportRow]) -> str:
    """The warnings of all bots in one line."""
    warned = [row for row in rows if row["warning"] and not row["reason"]]
    if not warned:
        return ""
    first = f"{warned[0]['bot']}: {warned[0]['warning']}"
    if len(warned) == 1:
        return first
    return f"{len(warned)} bots have a warning, such as {first} (report.html has all of them)"


def _outdated(rows: Sequence[ReportRow]) -> str:
    """The endpoints that have not changed to the published version yet, in one line."""
    texts = [f"{row['bot']} {outdated(row)}" for row in rows if outdated(row)]
    if not texts:
        return ""
    more = f" (and {len(texts) - 1:,} more)" if len(texts) > 1 else ""
    return f"{texts[0]}{more}; endpoints change to new versions by themselves, `huggingtweets status` shows when"


def _formatted(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)
