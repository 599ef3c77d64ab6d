"""report.html: how good a fleet's bots are, on one page that needs no other file and no network.

    page(report, places={"nasa": [0.3, -0.7]}, epochs=[("nasa", 4, 0.02)])

The template is assets/report.html.j2, the plots are fleet_plots.py's. The table has the first thousand bots, failed
ones first; each is a row of one line that opens.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from markupsafe import Markup

from pipeline.core.own_code import ASSETS
from pipeline.core.templates import render
from pipeline.publish.card import PROMPT
from pipeline.report.fleet_plots import fleet_plots
from pipeline.report.rows import Report, ReportRow, kept, metric, metric_values, remarks

_LISTED = 1000  # rows of the table; report.json has all
_SAMPLES = 3  # that an opened row shows, to the prompt and without one each


@dataclass(frozen=True)
class Cell:
    """A cell of the table."""

    text: str
    value: float | str  # that the column is sorted by
    name: str = ""  # of the column, a CSS class: narrow screens show some of them


@dataclass(frozen=True)
class BotRow:
    """A bot in the table: the cells of its line, and what the line opens to."""

    bot: str
    failed: bool
    cells: list[Cell]
    summary: str  # a sample or, where there is none, the remarks
    remarks: list[str]
    figures: list[tuple[str, str]]  # (name, value)
    samples: list[str]


# the columns after the bot's name
COLUMNS = (
    "status",
    "tweets",
    "before",
    "after",
    "voice",
    "real",
    "detected",
    "copied",
    "variety",
    "mentions",
    "seconds",
)


def page(report: Report, places: Mapping[str, Sequence[float]], epochs: Sequence[tuple[str, int, float]]) -> str:
    """The page; `places` and `epochs` as in `fleet_plots`."""
    rows = report["bots"]
    listed = sorted(rows, key=lambda row: row["status"] != "failed")[:_LISTED]
    return render(
        ASSETS / "report.html.j2",
        style=style(),
        fleet=report["fleet"],
        facts=_facts(rows, report["seconds"]),
        plots=fleet_plots(rows, report["seconds"], places, epochs),
        columns=COLUMNS,
        rows=[_bot_row(row) for row in listed],
        left_out=len(rows) - len(listed),
    )


def style() -> Markup:
    """The style sheet that the pages of a fleet share."""
    return Markup((ASSETS / "report.css").read_text(encoding="utf-8"))


def _facts(rows: Sequence[ReportRow], seconds: Mapping[str, float]) -> list[tuple[str, str]]:
    """The fleet in a few numbers, as (value, what it is)."""
    facts = [(f"{len(rows):,}", "bots")]
    for status in ("failed", "skipped"):
        if count := sum(row["status"] == status for row in rows):
            facts.append((f"{count:,}", status))
    before, after = metric_values(rows, "held_out", "base_loss"), metric_values(rows, "held_out", "loss")
    if after:
        facts.append((f"{median(before):.2f} → {median(after):.2f}", "median held-out loss, nats per token"))
    voice, real = metric_values(rows, "voice", "top1"), metric_values(rows, "voice", "real_top1")
    if voice:
        facts.append((f"{median(voice):.0%}", f"median voice; of real tweets {median(real):.0%}"))
    if written := metric_values(rows, "authorship", "value"):
        facts.append((f"{median(written):.2f}", "median authorship: other people are at 0, the person is at 1"))
    if found := metric_values(rows, "real_or_bot", "accuracy"):
        facts.append((f"{median(found):.0%}", "median share of samples told from real tweets; 50 % would be perfect"))
    if ratios := metric_values(rows, "sense", "ratio"):
        facts.append(
            (f"{median(ratios):.2f}", "times what real tweets cost the base model, the median bot's samples do")
        )
    if aucs := metric_values(rows, "memory", "auc"):
        facts.append((f"{median(aucs):.2f}", "median AUC of telling training tweets from others; 0.5 is a guess"))
    if copied := metric_values(rows, "copying", "long_runs"):
        facts.append((f"{median(copied):.0%}", "median share of samples with a copied run"))
    if continued := [row for row in rows if "continued" in row["metrics"]]:
        before, after = (
            metric_values(continued, "continued", "loss_before"),
            metric_values(continued, "held_out", "loss"),
        )
        facts.append((f"{median(before):.2f} → {median(after):.2f}", f"loss of the {len(continued):,} continued bots"))
        took = sum(metric_values(continued, "train", "seconds"))
        starting_over = sum(metric_values(continued, "continued", "seconds_to_start_over"))
        facts.append((f"{took:,.0f} s", f"to train them; starting over takes about {starting_over:,.0f} s"))
    if seconds:
        facts.append((f"{sum(seconds.values()):,.0f} s", "for the last command"))
    return facts


def _bot_row(row: ReportRow) -> BotRow:
    cells, notes = _cells(row), remarks(row)
    texts = row["metrics"].get("samples", {})
    samples = [text.strip() for text in [*texts.get(PROMPT, [])[:_SAMPLES], *texts.get("", [])[:_SAMPLES]]]
    return BotRow(
        bot=row["bot"],
        failed=row["status"] == "failed",
        cells=cells,
        summary=next(iter([*samples, *notes]), ""),
        remarks=notes,
        figures=[(name, value) for name, value in _figures(row) if value],
        samples=samples,
    )


def _cells(row: ReportRow) -> list[Cell]:
    """The row's cells after the bot's name, in the order of COLUMNS."""

    def number(measure: str, key: str, form: str) -> tuple[str, float | str]:
        value = metric(row, measure, key)
        return ("", "") if value is None else (format(value, form), value)

    seconds = _seconds(row)
    contents: list[tuple[str, float | str]] = [
        (row["status"], row["status"]),
        (f"{kept(row):,}", kept(row)),
        number("held_out", "base_loss", ".3f"),
        number("held_out", "loss", ".3f"),
        number("voice", "top1", ".0%"),
        number("voice", "real_top1", ".0%"),
        number("real_or_bot", "accuracy", ".0%"),
        number("copying", "long_runs", ".0%"),
        number("variety", "distinct_2", ".0%"),
        number("safety", "mentions", ".0%"),
        (f"{seconds:,.1f}", seconds) if seconds else ("", ""),
    ]
    return [Cell(text, value, name) for name, (text, value) in zip(COLUMNS, contents, strict=True)]


def _figures(row: ReportRow) -> list[tuple[str, str]]:
    """The figures of an opened row: (name, value), the value empty if it is not known."""

    def number(measure: str, key: str, form: str, before: str = "", after: str = "") -> str:
        value = metric(row, measure, key)
        return "" if value is None else f"{before}{format(value, form)}{after}"

    interval = row["metrics"].get("held_out", {}).get("loss_interval")
    seconds = _seconds(row)
    return [
        ("version", row["version"] or ""),
        ("tweets kept", f"{kept(row):,}"),
        ("loss of the base model", number("held_out", "base_loss", ".3f")),
        ("loss", number("held_out", "loss", ".3f") + ("" if not interval else " ({:.3f} to {:.3f})".format(*interval))),
        ("voice", number("voice", "top1", ".0%") + number("voice", "real_top1", ".0%", " (real tweets ", ")")),
        (
            "authorship",
            number("authorship", "value", ".2f")
            + number("authorship", "standard_error", ".2f", " ± ")
            + number("authorship", "base_value", ".2f", " (base ", ")"),
        ),
        (
            "detected",
            number("real_or_bot", "accuracy", ".0%")
            + number("real_or_bot", "standard_error", ".0%", " ± ")
            + number("real_or_bot", "base_accuracy", ".0%", " (base ", ")"),
        ),
        (
            "sense, nats per character",
            number("sense", "nats", ".2f") + number("sense", "real_nats", ".2f", " (real tweets ", ")"),
        ),
        (
            "unknown words",
            number("sense", "unknown_words", ".1%")
            + number("sense", "real_unknown_words", ".1%", " (real tweets ", ")"),
        ),
        ("copied runs", number("copying", "long_runs", ".0%")),
        ("memory, AUC", number("memory", "auc", ".2f") + number("memory", "standard_error", ".2f", " ± ")),
        ("private data", number("memory", "private", ".0%")),
        ("exact copies", number("copying", "exact", ".0%")),
        ("variety", number("variety", "distinct_2", ".0%")),
        ("mentions", number("safety", "mentions", ".0%")),
        ("seconds", f"{seconds:,.1f}" if seconds else ""),
    ]


def _seconds(row: ReportRow) -> float:
    """Seconds that the bot took: in this command, else in its training; 0 where neither is known."""
    return sum(row["seconds"].values()) or metric(row, "train", "seconds") or 0.0
