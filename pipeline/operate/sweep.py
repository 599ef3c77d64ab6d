"""Tries recipes on a few of the fleet's bots: what `huggingtweets sweep fleet.yaml` does.

    result = sweep(fleet, progress)
    print(section(result))                      # the best recipe as a `train:` section for the fleet file

A recipe is one combination of the settings in the section `sweep`. Each is trained for each of the bots through the
lanes that train all bots, and evaluated beside training by held-out loss, voice and copies. The models are deleted;
work/sweep.json keeps their scores, so that a wider sweep trains only what is new.
"""

import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from statistics import mean
from typing import Any, Literal, TypedDict

import yaml
from rich.table import Table

from pipeline.core.errors import UserError
from pipeline.core.fleet import Fleet
from pipeline.core.lease import held
from pipeline.core.own_code import ASSETS
from pipeline.core.progress import Progress
from pipeline.core.ray_session import ensure
from pipeline.core.settings import Sweep, Train
from pipeline.core.templates import render
from pipeline.evaluate.driver import Evaluation
from pipeline.plan.bot import Bot
from pipeline.plan.bots import plan
from pipeline.plan.job import Job, open_job
from pipeline.plan.versions import version
from pipeline.prepare.index import Prepared
from pipeline.report.page import style
from pipeline.report.progress_record import shared
from pipeline.report.svg_plots import Mark, Plot, scatter
from pipeline.run import prepare

FILE, PAGE = "work/sweep.json", "work/sweep.html"
_TIE = 0.01  # relative difference in loss from the lowest, up to which the voice decides
ORDER = f"lowest held-out loss first; among those within {_TIE:.0%} of the lowest, the best voice first"
_SCORES = {"loss": ("held_out", "loss"), "voice": ("voice", "top1"), "copies": ("copying", "long_runs")}

Scores = dict[str, float | None]  # by the keys of _SCORES; None if a metric is not known


class Row(TypedDict):
    """A recipe: the settings that vary, the scores of each bot, and the bots' means."""

    settings: dict[str, Any]
    bots: dict[str, Scores]
    loss: float
    voice: float | None
    copies: float | None


class Result(TypedDict):
    """What a sweep found; `recipes` in the order of ORDER, `train` the settings of the first."""

    fleet: str
    recipes: list[Row]
    train: dict[str, Any]


@dataclass
class Variant(Bot):
    """A bot trained by one recipe. Its name is such as nasa@3, which no bot of a fleet can have."""

    recipe: int = 0  # the recipe's number

    @property
    def handles(self) -> list[str]:
        return [person.handle for person in self.people]


class Recipes(Train):
    """The fleet's settings, with settings of its own for each variant."""

    of_variant: dict[str, Train]

    def of(self, bot: str, tokens: int) -> Train:
        return self.of_variant[bot]


def sweep(fleet: Fleet, progress: Progress, only: list[str] | None = None, wait: bool = False) -> Result:
    """Tries all recipes; writes work/sweep.json and work/sweep.html and returns the result.

    `only` names the bots to try them on. Raises UserError if no bot can be trained, or if another command works on the
    fleet and `wait` is false.
    """
    job = open_job(fleet)
    with held(job.store, "sweep", wait, progress.say) as lease, shared(job.store, progress):
        progress.checks.append(lease.check)
        return _sweep(job, progress, only)


def _sweep(job: Job, progress: Progress, only: list[str] | None) -> Result:
    fleet, prepared = job.fleet, prepare(job, progress)
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
    known |= {variant.version: _scores(variant) for variant in due if variant.status == "trained"}
    result = summary(fleet.fleet, recipes, variants, known)
    job.store.write(FILE, (json.dumps(result | {"known": known}, indent=2) + "\n").encode())
    job.store.write(PAGE, page(result).encode())
    return result


def combinations(swept: Sweep, recipe: Train) -> list[Train]:
    """Every combination of the settings to try; a setting without values keeps the recipe's value."""
    tried = {key: values for key, values in swept.model_dump(exclude={"bots"}).items() if values}
    names = list(tried)
    return [
        recipe.model_copy(update=dict(zip(names, values, strict=True))) for values in itertools.product(*tried.values())
    ]


def spread(bots: list[Bot], count: int) -> list[Bot]:
    """`count` of the bots, evenly spaced from the smallest to the largest."""
    order = sorted(bots, key=lambda bot: (bot.tokens, bot.name))
    if len(order) <= count:
        return order
    return [order[round(i * (len(order) - 1) / max(1, count - 1))] for i in range(count)]


def _variant(job: Job, bot: Bot, number: int, recipe: Train) -> Variant:
    return Variant(f"{bot.name}@{number}", bot.people, version(replace(job, train=recipe), bot.people), recipe=number)


def _train(job: Job, recipes: list[Train], prepared: Prepared, variants: list[Variant], progress: Progress) -> None:
    from pipeline.train import driver

    ensure()
    settings = Recipes(
        **job.train.model_dump(), of_variant={variant.name: recipes[variant.recipe] for variant in variants}
    )
    try:
        with Evaluation(job, prepared.people, beside=True, most=len(variants), say=progress.say) as evaluation:
            driver.train(replace(job, train=settings), list(variants), progress, done=evaluation.add)
            evaluation.settle(progress)
    finally:
        progress.end()
        for variant in variants:
            job.store.delete(f"work/trained/{variant.name}")


def _scores(variant: Variant) -> Scores:
    measures: Mapping[str, Any] = variant.metrics
    return {name: measures[entry].get(key) for name, (entry, key) in _SCORES.items()}


def summary(fleet: str, recipes: list[Train], variants: list[Variant], known: dict[str, Scores]) -> Result:
    """The recipes with their means over the bots. `known` has the scores of each version that was trained.

    Raises UserError if no recipe trained a bot.
    """
    varied = [key for key in Sweep.model_fields if key != "bots" and len({getattr(one, key) for one in recipes}) > 1]
    rows: list[Row] = []
    for number, recipe in enumerate(recipes):
        trained = [variant for variant in variants if variant.recipe == number and variant.version in known]
        scores = {variant.name.split("@")[0]: known[variant.version or ""] for variant in trained}
        if scores:
            settings = {key: getattr(recipe, key) for key in varied}
            loss, voice, copies = (_mean(name, scores) for name in _SCORES)
            rows.append(Row(settings=settings, bots=scores, loss=loss or 0.0, voice=voice, copies=copies))
    if not rows:
        raise UserError("no recipe made a bot: " + "; ".join(sorted({variant.reason or "" for variant in variants})))
    best = min(row["loss"] for row in rows)
    ties = sorted((row for row in rows if row["loss"] <= best * (1 + _TIE)), key=lambda row: -(row["voice"] or 0))
    others = sorted((row for row in rows if row not in ties), key=lambda row: row["loss"])
    return Result(fleet=fleet, recipes=ties + others, train=ties[0]["settings"])


def _mean(name: str, scores: dict[str, Scores]) -> float | None:
    values = [value for score in scores.values() if (value := score[name]) is not None]
    return mean(values) if values else None


def table(result: Result) -> Table:
    """The recipes for a terminal, in the order of ORDER."""
    shown = Table(
        title=f"recipes for fleet {result['fleet']}",
        title_justify="left",
        caption=ORDER,
        caption_justify="left",
    )
    names = list(result["recipes"][0]["settings"])
    for column in (*names, "held-out loss", "voice", "copied runs"):
        shown.add_column(column, justify="right")
    for row in result["recipes"]:
        settings = [f"{value:g}" if isinstance(value, float) else str(value) for value in row["settings"].values()]
        shares = ["" if share is None else f"{share:.0%}" for share in (row["voice"], row["copies"])]
        shown.add_row(*settings, f"{row['loss']:.3f}", *shares)
    return shown


def section(result: Result) -> str:
    """The best recipe as a `train:` section for the fleet file."""
    return yaml.safe_dump({"train": result["train"]}, sort_keys=False)


def page(result: Result) -> str:
    """sweep.html: plots of the scores of all recipes, and the table."""
    rows, names = result["recipes"], list(result["train"])
    across = next((name for name in names if name != "schedule"), "")  # the x axis: the first numeric setting

    def plot(title: str, key: Literal["loss", "voice", "copies"], y: str, text: str) -> Plot:
        marks = [
            Mark(row["settings"][across], value, _others(row["settings"], across))
            for row in rows
            if across and (value := row[key]) is not None
        ]
        log = bool(marks) and max(one.x for one in marks) > 20 * min(one.x for one in marks) > 0
        svg = scatter(marks, across.replace("_", " "), y, joined=True, log_x=log, y_is_share=key != "loss")
        return Plot(title, text, svg)

    plots = [
        plot(
            "Held-out loss",
            "loss",
            "nats per token",
            "Lower is better; it rises again where a bot memorises its tweets.",
        ),
        plot("Voice", "voice", "share of samples", "Samples that the classifier attributes to the right person."),
        plot(
            "Copied runs",
            "copies",
            "share of samples",
            "Samples with eight or more words in a row from a training tweet.",
        ),
    ]
    return render(
        ASSETS / "sweep.html.j2",
        style=style(),
        fleet=result["fleet"],
        plots=[one for one in plots if one.svg],
        names=names,
        recipes=rows,
        order=ORDER,
        bots=list(rows[0]["bots"]),
        section=section(result),
    )


def _others(settings: dict[str, Any], across: str) -> str:
    """The other settings, as the name of a line in the plots."""
    others = [f"{name.replace('_', ' ')} {value}" for name, value in settings.items() if name != across]
    return ", ".join(others) or "recipe"
