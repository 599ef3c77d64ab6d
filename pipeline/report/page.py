"""report.html: what a fleet is worth, on one page that needs nothing else.

    page(report, points={"nasa": [0.3, -0.7]}, epochs=[("nasa", 4, 0.02)])

Plots are inline SVG (plots.py), the template is assets/report.html.j2. Up to 40 bots each has its row in the plots;
above that they show distributions and the extremes, and the table the first thousand bots.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from markupsafe import Markup

from pipeline.core.names import handles_of
from pipeline.core.own_code import ASSETS
from pipeline.core.templates import render
from pipeline.publish.card import PROMPT
from pipeline.report.plots import Mark, bars, dumbbells, histogram, matrix, scatter

FEW = 40  # bots that a plot can show by name
_LISTED = 1000  # rows of the table; report.json has all
_MARKS = 2000  # points of a plot
_EXTREMES = 20
Row = dict[str, Any]


@dataclass(frozen=True)
class Cell:
    text: str
    value: float | str  # what the column is sorted by


@dataclass(frozen=True)
class Plot:
    title: str
    text: str  # what it shows and how to read it
    svg: Markup


COLUMNS = ("bot", "status", "tweets", "before", "after", "voice", "real", "copies", "variety", "mentions", "seconds")


def page(report: Row, points: dict[str, list[float]], epochs: Sequence[tuple[str, int, float]]) -> str:
    """The page. `points`: the people's places on the map; `epochs`: (bot, epochs, share of copies) where known."""
    rows = report["bots"]
    listed = sorted(rows, key=lambda row: row["status"] != "failed")[:_LISTED]  # the failed ones first
    return render(
        ASSETS / "report.html.j2",
        style=style(),
        fleet=report["fleet"],
        facts=_facts(rows, report["seconds"]),
        plots=[plot for plot in _plots(rows, report["seconds"], points, epochs) if plot.svg],
        columns=COLUMNS,
        rows=[(row, _cells(row), _samples(row)) for row in listed],
        left_out=len(rows) - len(listed),
    )


def style() -> Markup:
    """The style sheet that the pages of a fleet share."""
    return Markup((ASSETS / "report.css").read_text(encoding="utf-8"))


def _facts(rows: list[Row], seconds: dict[str, float]) -> list[tuple[str, str]]:
    """The fleet in a few numbers, as (value, what it is)."""
    facts = [(f"{len(rows):,}", "bots")]
    for status in ("failed", "skipped"):
        if count := sum(row["status"] == status for row in rows):
            facts.append((f"{count:,}", status))
    before, after = _values(rows, "held_out", "base_loss"), _values(rows, "held_out", "loss")
    if after:
        facts.append((f"{median(before):.2f} → {median(after):.2f}", "median held-out loss, nats per token"))
    voice, real = _values(rows, "voice", "top1"), _values(rows, "voice", "real_top1")
    if voice:
        facts.append((f"{median(voice):.0%}", f"median voice; real tweets {median(real):.0%}"))
    if copies := _values(rows, "copying", "long_runs"):
        facts.append((f"{median(copies):.0%}", "median share of samples with a copied run"))
    if went := [row for row in rows if "continued" in row["metrics"]]:
        before, after = _values(went, "continued", "loss_before"), _values(went, "held_out", "loss")
        facts.append((f"{median(before):.2f} → {median(after):.2f}", f"the same of {len(went):,} bots that went on"))
        took, over = (sum(_values(went, *of)) for of in (("train", "seconds"), ("continued", "seconds_to_start_over")))
        facts.append((f"{took:,.0f} s", f"took their training; to start over, {over:,.0f} s"))
    if seconds:
        facts.append((f"{sum(seconds.values()):,.0f} s", "for the last command"))
    return facts


def _values(rows: list[Row], entry: str, key: str) -> list[float]:
    found = (row["metrics"].get(entry, {}).get(key) for row in rows)
    return [value for value in found if value is not None]


def _plots(
    rows: list[Row],
    seconds: dict[str, float],
    points: dict[str, list[float]],
    epochs: Sequence[tuple[str, int, float]],
) -> list[Plot]:
    measured = [row for row in rows if "held_out" in row["metrics"]][:_MARKS]
    heard = [row for row in rows if "top1" in row["metrics"].get("voice", {})]
    loss = "held-out loss, nats per token"
    tweets = [Mark(_kept(row), row["metrics"]["held_out"]["loss"], row["bot"]) for row in measured]
    people = [Mark(x, y, handle, "real") for handle, (x, y) in points.items()]
    return [
        _losses(measured),
        *_voices(heard),
        Plot(
            "How many tweets does a good bot need?",
            "Held-out loss after training against the number of tweets kept; lower is better.",
            scatter(tweets, "tweets kept", loss, log_x=True),
        ),
        Plot(
            "People by style",
            "Who writes alike stands close: character n-grams of each person's tweets, weighted and laid out in two "
            "dimensions. Only distances mean something, not the axes.",
            scatter(people, "", "", axes=False),
        ),
        Plot(
            "Copies against epochs",
            "The share of samples with eight words or more in a row from one training tweet. Versions of a bot trained "
            "for other numbers of epochs are joined by a line.",
            scatter([Mark(x, y, bot) for bot, x, y in epochs], "epochs", "share of samples", joined=True),
        ),
        Plot("Wall time by stage", "Of the last command.", bars(list(seconds.items()), "seconds")),
    ]


def _losses(rows: list[Row]) -> Plot:
    title, unit = "Loss before and after training", "held-out loss, nats per token"
    held = {row["bot"]: row["metrics"]["held_out"] for row in rows}
    if len(rows) <= FEW:
        order = sorted(held, key=lambda bot: held[bot]["loss"])
        lines = [(bot, held[bot]["base_loss"], held[bot]["loss"], held[bot].get("loss_interval")) for bot in order]
        text = "On tweets that training never saw: grey the base model, blue the bot, with its 95 % interval."
        return Plot(title, text, dumbbells(lines, unit))
    marks = [Mark(one["base_loss"], one["loss"], bot) for bot, one in held.items()]
    text = "On tweets that training never saw. Each bot that learned something lies below the dashed line."
    return Plot(title, text, scatter(marks, "base model", "bot", diagonal=True))


def _voices(rows: list[Row]) -> list[Plot]:
    text = (
        "Each bot's samples, by the person a classifier takes them for; it learned from real tweets alone. "
        "A bot that sounds like its person is dark where its row meets its column."
    )
    voices = {row["bot"]: row["metrics"]["voice"] for row in rows}
    attributed = {
        bot: {name: n / max(1, one["samples"]) for name, n in one["attributed"]} for bot, one in voices.items()
    }
    if len(rows) <= FEW:
        columns = sorted({handle for bot in voices for handle in handles_of(bot)} | _common(attributed))
        shares = [[attributed[bot].get(column, 0.0) for column in columns] for bot in voices]
        return [Plot("Voice", text, matrix(list(voices), columns, shares, "taken for"))]
    wrong = [
        (f"{bot} → {name}", share)
        for bot, shares in attributed.items()
        for name, share in shares.items()
        if name not in handles_of(bot)
    ]
    most = sorted(wrong, key=lambda one: -one[1])[:_EXTREMES]
    text = "How often a bot's samples are taken for its person's, bot by bot."
    right = histogram([one["top1"] for one in voices.values()], "share of samples taken for the right person")
    mistaken = "Bots whose samples are taken for somebody else's."
    return [Plot("Voice", text, right), Plot("Most often mistaken", mistaken, bars(most, "share of samples"))]


def _common(attributed: dict[str, dict[str, float]]) -> set[str]:
    """People without a bot here for whom a tenth of some bot's samples are taken."""
    return {name for shares in attributed.values() for name, share in shares.items() if share >= 0.1}


def _kept(row: Row) -> int:
    return sum(counts["kept"] for counts in row["tweets"].values())


def _cells(row: Row) -> list[Cell]:
    """The row's cells after the bot's name, in the order of COLUMNS."""
    metrics = row["metrics"]

    def number(entry: str, key: str, form: str) -> Cell:
        value = metrics.get(entry, {}).get(key)
        return Cell("", "") if value is None else Cell(format(value, form), value)

    remarks = "; ".join(filter(None, (row["warning"], went_on(metrics))))
    status = row["status"] + (f": {row['reason']}" if row["reason"] else f" ({remarks})" if remarks else "")
    seconds = sum(row["seconds"].values()) or metrics.get("train", {}).get("seconds")
    return [
        Cell(status, row["status"]),
        Cell(f"{_kept(row):,}", _kept(row)),
        number("held_out", "base_loss", ".3f"),
        number("held_out", "loss", ".3f"),
        number("voice", "top1", ".0%"),
        number("voice", "real_top1", ".0%"),
        number("copying", "long_runs", ".0%"),
        number("variety", "distinct_2", ".0%"),
        number("safety", "mentions", ".0%"),
        Cell(f"{seconds:,.1f}", seconds) if seconds else Cell("", ""),
    ]


def went_on(metrics: dict[str, Any]) -> str:
    """What a bot gained that went on from its last version, or why it did not; "" for any other."""
    if over := metrics.get("started_over"):
        return f"started over: {over['reason']}"
    if "continued" not in metrics or "held_out" not in metrics:
        return ""
    before, seconds = metrics["continued"]["loss_before"], metrics["continued"]["seconds_to_start_over"]
    return (
        f"{metrics['continued']['new_tweets']:,} new tweets: loss {before:.3f} → {metrics['held_out']['loss']:.3f}, "
        f"in {metrics['train']['seconds']:,.1f} s, not {seconds:,.1f}"
    )


def _samples(row: Row) -> list[str]:
    said = row["metrics"].get("samples", {})
    return [text.strip() for text in [*said.get(PROMPT, [])[:3], *said.get("", [])[:3]]]
