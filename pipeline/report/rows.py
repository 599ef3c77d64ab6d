"""The rows of report.json, one for each bot, and what is read from them in several places.

row = row_of(bot)                   # a bot of the plan, as report.json has it
kept(row), remarks(row)             # 2427, ["only 8,897 characters of kept text; …"]
"""

from collections.abc import Mapping, Sequence
from typing import Any, NotRequired, TypedDict

from pipeline.core.bot_files import Metrics
from pipeline.plan.bot import Bot


class ReportRow(TypedDict):
    """One bot in report.json."""

    bot: str
    status: str  # prepared, trained, unchanged, skipped, failed
    reason: str | None  # why it is skipped or failed
    warning: str | None
    version: str | None
    tweets: dict[str, dict[str, int]]  # counts by handle, as in stats.json
    metrics: Metrics  # as in metrics.json
    seconds: dict[str, float]  # by step
    log: NotRequired[str]  # the last lines of a failed bot's log
    current: NotRequired[str | None]  # the published version; added by `status`
    endpoint: NotRequired[str | None]  # the bot's URL; added by `status --json`
    serves: NotRequired[str | None]  # the version that its endpoint answers with; added by `status`, `run`, `publish`


class Report(TypedDict):
    """report.json."""

    fleet: str
    seconds: dict[str, float]  # of each step of the last command
    bots: list[ReportRow]
    deployed: NotRequired[Any]  # what `run --deploy` did; printed, not stored
    pushed: NotRequired[Any]  # what `publish --hub` did; printed, not stored


def row_of(bot: Bot) -> ReportRow:
    """A bot's row."""
    row: ReportRow = {
        "bot": bot.name,
        "status": bot.status,
        "reason": bot.reason,
        "warning": bot.warning,
        "version": bot.version,
        "tweets": bot.stats["tweets"],
        "metrics": bot.metrics,
        "seconds": bot.seconds,
    }
    if bot.log:
        row["log"] = bot.log
    return row


def without_samples(row: ReportRow) -> ReportRow:
    """The row without the samples in its metrics, which are most of its bytes."""
    metrics = row["metrics"].copy()
    metrics.pop("samples", None)
    return {**row, "metrics": metrics}


def kept(row: ReportRow) -> int:
    """The number of kept tweets of all the bot's people."""
    return sum(counts["kept"] for counts in row["tweets"].values())


def metric(row: ReportRow, measure: str, key: str) -> float | None:
    """One number of the bot's metrics, such as ("held_out", "loss"), or None if it is not measured."""
    measures: Mapping[str, Any] = row["metrics"]
    return measures.get(measure, {}).get(key)


def metric_values(rows: Sequence[ReportRow], measure: str, key: str) -> list[float]:
    """One number of the metrics of all bots that have it."""
    return [value for row in rows if (value := metric(row, measure, key)) is not None]


def outdated(row: ReportRow) -> str:
    """That a bot's endpoint answers with an older version than the published one; "" if it does not."""
    serves, published = row.get("serves"), row.get("current") or row["version"]
    return f"serves {serves}, older than {published}" if serves and published and serves != published else ""


def remarks(row: ReportRow) -> list[str]:
    """What a person should know of the bot: why it is skipped or failed, else the warning; how it was continued."""
    metrics = row["metrics"]
    return [text for text in (row["reason"] or row["warning"], lowered_rate(metrics), continuation(metrics)) if text]


def lowered_rate(metrics: Metrics) -> str:
    """That the bot was trained at a lower learning rate than the recipe's; "" for any other bot."""
    if "lowered_rate" not in metrics:
        return ""
    return f"diverged at the recipe's learning rate, trained with {metrics['lowered_rate']['used']:.3g}"


def continuation(metrics: Metrics) -> str:
    """What a bot gained by continuing from its last version, or why it started over; "" for any other bot."""
    if started_over := metrics.get("started_over"):
        return f"started over: {started_over['reason']}"
    if "continued" not in metrics or "held_out" not in metrics:
        return ""
    continued = metrics["continued"]
    return (
        f"continued with {continued['new_tweets']:,} new tweets: loss {continued['loss_before']:.3f} → "
        f"{metrics['held_out']['loss']:.3f} in {metrics['train']['seconds']:,.1f} s (starting over takes about "
        f"{continued['seconds_to_start_over']:,.1f} s)"
    )
