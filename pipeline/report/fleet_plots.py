"""The plots of report.html: which ones show a fleet, and from which metrics.

    plots = fleet_plots(rows, seconds, places={"nasa": [0.3, -0.7]}, epochs=[("nasa", 4, 0.02)])

Up to 40 bots each has its row in a plot; above that plots show distributions and extremes.
"""

from collections.abc import Mapping, Sequence

from pipeline.core.names import handles_of
from pipeline.report.rows import ReportRow, kept, metric
from pipeline.report.svg_plots import Dumbbell, Mark, Plot, bars, dumbbells, histogram, matrix, scatter

FEW = 40  # bots that a plot can show by name
_MARKS = 2000  # points of a plot at most
_EXTREMES = 20
_COMMON = 0.1  # a person without a bot here has a column in the matrix from this share of some bot's samples
_INTERVAL = 1.96  # standard errors on each side of an estimate: 95 % of a normal distribution
_COLOURS = " The base model is grey, the bot blue, with its 95 % interval."
_LOSS = "held-out loss, nats per token"


def fleet_plots(
    rows: Sequence[ReportRow],
    seconds: Mapping[str, float],
    places: Mapping[str, Sequence[float]],
    epochs: Sequence[tuple[str, int, float]],
) -> list[Plot]:
    """The plots that have something to show.

    `seconds` are the last command's, by step; `places` the people's points on the map of styles, [x, y]; `epochs` is
    (bot, epochs, share of samples with a copied run) for each version whose epochs are known.
    """
    measured = [row for row in rows if "held_out" in row["metrics"]][:_MARKS]
    attributed = [row for row in rows if "top1" in row["metrics"].get("voice", {})]
    tweets = [Mark(kept(row), row["metrics"]["held_out"]["loss"], row["bot"]) for row in measured]
    people = [Mark(x, y, handle, "real") for handle, (x, y) in places.items()]
    copied = [Mark(number, share, bot) for bot, number, share in epochs]
    plots = [
        _losses(measured),
        *(_voices if len(attributed) <= FEW else _voices_of_many)(attributed),
        _authorship(rows),
        _real_or_bot(rows),
        _sense(rows),
        _memory(rows),
        Plot(
            "How many tweets does a good bot need?",
            "Held-out loss after training against the number of kept tweets; lower is better.",
            scatter(tweets, "tweets kept", _LOSS, log_x=True),
        ),
        Plot(
            "People by style",
            "People who write alike are close to each other: character n-grams of each person's tweets, weighted and "
            "laid out in two dimensions. Distances have a meaning, the axes have none.",
            scatter(people, "", "", axes=False),
        ),
        Plot(
            "Copied runs against epochs",
            "The share of samples that have eight words or more in a row in common with a training tweet. A line joins "
            "the versions of a bot that were trained for different numbers of epochs.",
            scatter(copied if _differ(copied) else [], "epochs", "share of samples", y_is_share=True, joined=True),
        ),
        Plot("Time by step", "Wall time of the last command.", bars(list(seconds.items()), "seconds")),
    ]
    return [plot for plot in plots if plot.svg]


def _differ(marks: Sequence[Mark]) -> bool:
    """Whether there are different numbers of epochs to compare."""
    return len({mark.x for mark in marks}) > 1


def _losses(rows: Sequence[ReportRow]) -> Plot:
    title = "Loss before and after training"
    held = [(row["bot"], row["metrics"]["held_out"]) for row in sorted(rows, key=_loss)]
    if len(rows) <= FEW:
        lines = [Dumbbell(bot, one["base_loss"], one["loss"], one.get("loss_interval")) for bot, one in held]
        text = "On tweets that training never saw: the base model in grey, the bot in blue with its 95 % interval."
        return Plot(title, text, dumbbells(lines, _LOSS))
    marks = [Mark(one["base_loss"], one["loss"], bot) for bot, one in held]
    text = "On tweets that training never saw. A bot that learned something is below the dashed line."
    return Plot(title, text, scatter(marks, "base model", "bot", diagonal=True))


def _loss(row: ReportRow) -> float:
    return row["metrics"]["held_out"]["loss"]


def _voices(rows: Sequence[ReportRow]) -> list[Plot]:
    """For each bot, to whom its samples are attributed."""
    text = (
        "The person to whom a classifier, trained on real tweets, attributes each bot's samples. A bot that sounds "
        "like its person is dark where its row meets that person's column."
    )
    shares = _attributed(rows)
    common = {name for attributed in shares.values() for name, share in attributed.items() if share >= _COMMON}
    columns = sorted({handle for bot in shares for handle in handles_of(bot)} | common)
    cells = [[shares[bot].get(column, 0.0) for column in columns] for bot in shares]
    return [Plot("Voice", text, matrix(list(shares), columns, cells, "attributed to"))]


def _voices_of_many(rows: Sequence[ReportRow]) -> list[Plot]:
    """A histogram of how much bots sound like their person, and the bots that sound most like somebody else."""
    wrong = [
        (f"{bot} → {name}", share)
        for bot, attributed in _attributed(rows).items()
        for name, share in attributed.items()
        if name not in handles_of(bot)
    ]
    return [
        Plot(
            "Voice",
            "For each bot, the share of its samples that a classifier attributes to the right person.",
            histogram([row["metrics"]["voice"]["top1"] for row in rows], "share attributed to the right person"),
        ),
        Plot(
            "Most often mistaken",
            "Bots whose samples are attributed to another person.",
            bars(sorted(wrong, key=lambda one: -one[1])[:_EXTREMES], "share of samples"),
        ),
    ]


def _real_or_bot(rows: Sequence[ReportRow]) -> Plot:
    """How often each bot is told from its person."""
    title, axis = "Real or bot", "share told apart"
    text = "How often a detector tells a bot's samples from its person's held-out tweets; at 0.5 it only guesses."
    lines = _with_intervals(rows, "real_or_bot", "accuracy", "base_accuracy")
    if len(lines) > FEW:
        return Plot(title, text, histogram([line.after for line in lines], axis))
    return Plot(title, text + _COLOURS, dumbbells(lines, axis))


def _authorship(rows: Sequence[ReportRow]) -> Plot:
    """How close each bot's writing is to its person's, apart from topics."""
    title, axis = "Authorship", "from other people (0) to the person (1)"
    text = (
        "How close the writing is to the person's, by common words, punctuation and the shape of other words alone: "
        "other people are at 0, the person is at 1, and a caricature is above 1."
    )
    lines = _with_intervals(rows, "authorship", "value", "base_value")
    if len(lines) > FEW:
        marks = [Mark(line.before, line.after, line.name) for line in lines[:_MARKS]]
        return Plot(title, text, scatter(marks, "base model", "bot", diagonal=True))
    return Plot(title, text + _COLOURS, dumbbells(lines, axis))


def _sense(rows: Sequence[ReportRow]) -> Plot:
    """What each bot's samples cost the base model against what real tweets cost it."""
    pairs = [(row["bot"], metric(row, "sense", "real_nats"), metric(row, "sense", "nats")) for row in rows]
    marks = [Mark(real, nats, bot) for bot, real, nats in pairs if real is not None and nats is not None]
    return Plot(
        "Sense",
        "What the base model, which has not learned from the person, spends on a bot's samples, and on the person's "
        "held-out tweets, in nats per character. On the dashed line both are as easy to predict.",
        scatter(marks[:_MARKS], "held-out tweets", "samples", diagonal=True),
    )


def _memory(rows: Sequence[ReportRow]) -> Plot:
    """How well training tweets can be told from others, against how many of them there are."""
    found = [(row, metric(row, "memory", "auc")) for row in rows]
    marks = [Mark(kept(row), auc, row["bot"]) for row, auc in found if auc is not None]
    return Plot(
        "Memory",
        "How well an attacker who has the model can tell training tweets from held-out ones by their loss, as an AUC: "
        "at 0.5 it only guesses, at 1 it knows.",
        scatter(marks[:_MARKS], "tweets kept", "AUC", log_x=True),
    )


def _with_intervals(rows: Sequence[ReportRow], measure: str, key: str, base_key: str) -> list[Dumbbell]:
    """The base model's and the bot's figure, with the interval of the bot's, lowest first; bots without it left out."""
    lines = []
    for row in rows:
        value, error, base = (metric(row, measure, name) for name in (key, "standard_error", base_key))
        if value is not None and error is not None:
            interval = (value - _INTERVAL * error, value + _INTERVAL * error)
            lines.append(Dumbbell(row["bot"], value if base is None else base, value, interval))
    return sorted(lines, key=lambda line: line.after)


def _attributed(rows: Sequence[ReportRow]) -> dict[str, dict[str, float]]:
    """By bot, the share of samples attributed to each person."""
    voices = {row["bot"]: row["metrics"]["voice"] for row in rows}
    return {bot: {name: n / max(1, one["samples"]) for name, n in one["attributed"]} for bot, one in voices.items()}
