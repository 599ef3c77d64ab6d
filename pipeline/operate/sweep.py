"""Which recipe makes the best bots? Every combination of the `sweep` section's settings, on a few of the fleet's bots.

    huggingtweets sweep fleet.yaml              # a table, work/sweep.html with plots, a `train:` section to paste

Each combination is trained for each of the bots as bots are trained otherwise, through the same lanes and one queue,
and judged beside it by held-out loss, voice and copies. The models go again; sweep.json keeps what they were worth,
so that a wider sweep trains only what is new.
"""

import itertools
import json
from contextlib import closing
from dataclasses import dataclass, replace
from statistics import mean
from typing import Any

import yaml
from rich.table import Table

from pipeline.core.errors import UserError
from pipeline.core.fleet import Fleet
from pipeline.core.own_code import ASSETS
from pipeline.core.progress import Progress
from pipeline.core.ray_session import ensure
from pipeline.core.settings import Sweep, Train
from pipeline.core.templates import render
from pipeline.evaluate.evaluation import Evaluation
from pipeline.plan.bots import Bot, plan
from pipeline.plan.job import Job, open_job
from pipeline.plan.versions import version
from pipeline.prepare.index import Prepared
from pipeline.report.live import shared
from pipeline.report.page import Plot, style
from pipeline.report.plots import Mark, scatter
from pipeline.run import prepare_tweets

FILE, PAGE = "work/sweep.json", "work/sweep.html"
_TIE = 0.01  # recipes whose losses differ by less, relatively, are told apart by voice
_JUDGED = {"loss": ("held_out", "loss"), "voice": ("voice", "top1"), "copies": ("copying", "long_runs")}


@dataclass
class Variant(Bot):
    """A bot as one recipe makes it; it is named nasa@3, a name that no bot can have."""

    recipe: int = 0  # its number

    @property
    def handles(self) -> list[str]:
        return [person.handle for person in self.people]


class Recipes(Train):
    """The fleet's settings, which differ from variant to variant."""

    of_variant: dict[str, Train]

    def of(self, bot: str, tokens: int) -> Train:
        return self.of_variant[bot]


def sweep(fleet: Fleet, progress: Progress, only: list[str] | None = None) -> dict[str, Any]:
    """Tries all recipes; writes sweep.json and sweep.html in work/, and returns what the first holds.

    Raises UserError where no bot can be trained.
    """
    job = open_job(fleet)
    with shared(job.store, progress):
        return _sweep(job, progress, only)


def _sweep(job: Job, progress: Progress, only: list[str] | None) -> dict[str, Any]:
    fleet, prepared = job.fleet, prepare_tweets(job, progress)
    recipes = combinations(fleet.sweep, job.train)
    usable = [bot for bot in plan(job, prepared, only) if bot.status == "prepared"]
    bots = [bot for bot in usable if bot.name in only] if only else spread(usable, fleet.sweep.bots)
    if not bots:
        raise UserError(f"fleet {fleet.fleet}: no bot has enough tweets to try recipes on")
    variants = [_variant(job, bot, i, recipe) for i, recipe in enumerate(recipes) for bot in bots]
    known = job.store.read_json(FILE).get("known", {})
    due = [variant for variant in variants if variant.version not in known]
    progress.say(f"sweep: {len(recipes)} recipes on {', '.join(bot.name for bot in bots)}; {len(due)} bots to train")
    if due:
        _train(job, recipes, prepared, due, progress)
    known |= {one.version: _judged(one) for one in due if one.status == "trained"}
    result = summary(fleet.fleet, recipes, variants, known)
    job.store.write(FILE, (json.dumps(result | {"known": known}, indent=2) + "\n").encode())
    job.store.write(PAGE, page(result).encode())
    return result


def combinations(swept: Sweep, recipe: Train) -> list[Train]:
    """Every combination of the settings to try; a setting without values stays as the recipe has it."""
    tried = {key: values for key, values in swept.model_dump(exclude={"bots"}).items() if values}
    names = list(tried)
    return [
        recipe.model_copy(update=dict(zip(names, values, strict=True))) for values in itertools.product(*tried.values())
    ]


def spread(bots: list[Bot], count: int) -> list[Bot]:
    """As many of the bots, from the smallest to the largest at even steps."""
    order = sorted(bots, key=lambda bot: (bot.tokens, bot.name))
    if len(order) <= count:
        return order
    return [order[round(i * (len(order) - 1) / max(1, count - 1))] for i in range(count)]


def _variant(job: Job, bot: Bot, number: int, recipe: Train) -> Variant:
    made = version(replace(job, train=recipe), bot.people)
    return Variant(f"{bot.name}@{number}", bot.people, made, recipe=number)


def _train(job: Job, recipes: list[Train], prepared: Prepared, variants: list[Variant], progress: Progress) -> None:
    from pipeline.train import driver

    ensure()
    settings = Recipes(**job.train.model_dump(), of_variant={one.name: recipes[one.recipe] for one in variants})
    try:
        with closing(Evaluation(job, prepared.people, beside=True)) as evaluation:
            driver.train(replace(job, train=settings), list(variants), progress, done=evaluation.add)
            evaluation.settle(progress)
    finally:
        progress.end()
        for variant in variants:
            job.store.delete(f"work/trained/{variant.name}")


def _judged(variant: Variant) -> dict[str, float | None]:
    return {name: variant.metrics[entry].get(key) for name, (entry, key) in _JUDGED.items()}


def summary(fleet: str, recipes: list[Train], variants: list[Variant], known: dict[str, Any]) -> dict[str, Any]:
    """The recipes with their means over the bots, best first, and what to paste."""
    varied = [key for key in Sweep.model_fields if key != "bots" and len({getattr(one, key) for one in recipes}) > 1]
    rows: list[dict[str, Any]] = []
    for number, recipe in enumerate(recipes):
        mine = [one for one in variants if one.recipe == number and one.version in known]
        judged = {one.name.split("@")[0]: known[one.version or ""] for one in mine}
        if judged:
            settings = {key: getattr(recipe, key) for key in varied}
            rows.append({"settings": settings, "bots": judged} | _means(list(judged.values())))
    if not rows:
        raise UserError("no recipe made a bot: " + "; ".join(sorted({one.reason or "" for one in variants})))
    best = min(row["loss"] for row in rows)
    ties = sorted((row for row in rows if row["loss"] <= best * (1 + _TIE)), key=lambda row: -(row["voice"] or 0))
    rows = ties + sorted((row for row in rows if row not in ties), key=lambda row: row["loss"])
    return {"fleet": fleet, "recipes": rows, "train": rows[0]["settings"]}


def _means(judged: list[dict[str, float | None]]) -> dict[str, float | None]:
    columns = {name: [one[name] for one in judged if one[name] is not None] for name in _JUDGED}
    return {name: mean(values) if values else None for name, values in columns.items()}  # type: ignore[type-var]


def table(result: dict[str, Any]) -> Table:
    """The recipes for a terminal, best first."""
    shown = Table(title=f"recipes for fleet {result['fleet']}", title_justify="left")
    names = list(result["recipes"][0]["settings"])
    for column in (*names, "held-out loss", "voice", "copies"):
        shown.add_column(column, justify="right")
    for row in result["recipes"]:
        settings = [f"{value:g}" if isinstance(value, float) else str(value) for value in row["settings"].values()]
        shares = ["" if row[name] is None else f"{row[name]:.0%}" for name in ("voice", "copies")]
        shown.add_row(*settings, f"{row['loss']:.3f}", *shares)
    return shown


def section(result: dict[str, Any]) -> str:
    """The best recipe as a `train:` section for the fleet file."""
    return yaml.safe_dump({"train": result["train"]}, sort_keys=False)


def page(result: dict[str, Any]) -> str:
    """sweep.html: the losses and copies of all recipes, and the table."""
    rows, names = result["recipes"], list(result["train"])
    across = next((name for name in names if name != "schedule"), "")  # the first that is a number

    def plot(title: str, key: str, y: str, text: str) -> Plot:
        marks = [
            Mark(row["settings"][across], row[key], _others(row["settings"], across))
            for row in rows
            if across and row[key] is not None
        ]
        log = bool(marks) and max(one.x for one in marks) > 20 * min(one.x for one in marks) > 0
        return Plot(title, text, scatter(marks, across.replace("_", " "), y, joined=True, log_x=log))

    plots = [
        plot("Held-out loss", "loss", "nats per token", "Lower is better; it rises again where a bot learns by heart."),
        plot("Voice", "voice", "share of samples", "Samples taken for the right person's."),
        plot("Copies", "copies", "share of samples", "Samples with eight words or more from a training tweet."),
    ]
    return render(
        ASSETS / "sweep.html.j2",
        style=style(),
        fleet=result["fleet"],
        plots=[one for one in plots if one.svg],
        names=names,
        recipes=rows,
        bots=list(rows[0]["bots"]),
        section=section(result),
    )


def _others(settings: dict[str, Any], across: str) -> str:
    """The settings but one, as a line's name."""
    others = [f"{name.replace('_', ' ')} {value}" for name, value in settings.items() if name != across]
    return ", ".join(others) or "recipe"
