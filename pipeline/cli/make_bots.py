"""Commands that make bots: `run` and its steps, `status`, `sweep`, `pretrain`."""

from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from pipeline.cli.options import BotsOption, FleetFile, JsonOption, SetOption, WaitOption, names_of, print_json, say
from pipeline.core import fleet as fleets
from pipeline.core import logs
from pipeline.core.errors import UsageError
from pipeline.core.fleet import Fleet
from pipeline.core.progress import Progress
from pipeline.core.ray_session import ensure, session

if TYPE_CHECKING:
    from pipeline.report.rows import Report


def run(
    fleet: FleetFile,
    deploy: Annotated[bool, typer.Option("--deploy", help="also deploy the bots")] = False,
    bots: BotsOption = None,
    wait: WaitOption = False,
    set_: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run all steps, each only for what changed: prepare, train, evaluate, publish."""
    from pipeline.operate.status import add_served
    from pipeline.run import STEPS

    settings = fleets.load(fleet, set_)
    report = _run_steps(settings, STEPS, bots, wait)
    if deploy:
        from pipeline.operate.deploy import deploy as deploy_bots

        report["deployed"] = deploy_bots(settings, names_of(bots), say)
    add_served(report, settings)
    _finish(report, bots, as_json)


def prepare(
    fleet: FleetFile,
    preview: Annotated[
        str | None,
        typer.Option("--preview", metavar="HANDLE", help="show which posts of a person are kept, and why not others"),
    ] = None,
    bots: BotsOption = None,
    wait: WaitOption = False,
    set_: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Read, clean, count and tokenise the tweets."""
    settings = fleets.load(fleet, set_)
    if preview is None:
        _finish(_run_steps(settings, ("prepare",), bots, wait), bots, as_json)
    else:
        _preview(settings, preview, as_json)


def _preview(settings: Fleet, person: str, as_json: bool) -> None:
    from pipeline import tweets
    from pipeline.core.names import handle_of, not_a_handle
    from pipeline.prepare.preview import lines
    from pipeline.prepare.preview import preview as preview_of

    handle = handle_of(person)
    if handle is None:
        raise UsageError(f"--preview: {not_a_handle(person)}")
    with session():
        result = preview_of(tweets.files_of(settings), handle, settings.filters)
    if as_json:
        print_json(result)
    else:
        print("\n".join(lines(result)))


def train(
    fleet: FleetFile,
    bots: BotsOption = None,
    wait: WaitOption = False,
    set_: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train the prepared bots."""
    _finish(_run_steps(fleets.load(fleet, set_), ("train",), bots, wait), bots, as_json)


def evaluate(
    fleet: FleetFile,
    bots: BotsOption = None,
    wait: WaitOption = False,
    set_: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Evaluate all trained bots again: loss, likeness, sense, copying, memory, variety, safety."""
    _finish(_run_steps(fleets.load(fleet, set_), ("evaluate",), bots, wait, again=True), bots, as_json)


def publish(
    fleet: FleetFile,
    hub: Annotated[
        str | None, typer.Option("--hub", metavar="ORG", help="also push to the Hugging Face hub (token in HF_TOKEN)")
    ] = None,
    bots: BotsOption = None,
    wait: WaitOption = False,
    set_: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write the model folders of trained bots, and write cards and pictures again."""
    from pipeline.operate.status import add_served

    settings = fleets.load(fleet, set_)
    report = _run_steps(settings, ("publish",), bots, wait, again=True)
    if hub is not None:
        from pipeline.operate.published import push

        with Progress() as progress:
            report["pushed"] = push(settings, names_of(bots), hub, progress)
    add_served(report, settings)
    _finish(report, bots, as_json)
    if any(result.status == "failed" for result in report.get("pushed", [])):
        raise typer.Exit(3)


def status(
    fleet: FleetFile,
    watch: Annotated[
        bool, typer.Option("--watch", help="show the command that works on the fleet until it ends, then the table")
    ] = False,
    bots: BotsOption = None,
    set_: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show each bot's state, version, counts, loss, endpoint and last error."""
    from pipeline.operate.status import status as status_of
    from pipeline.report.terminal import show

    settings = fleets.load(fleet, set_)
    if watch:
        _watch(settings, as_json)
    report, endpoints = status_of(settings, names_of(bots))
    if as_json:
        for row in report["bots"]:
            row["endpoint"] = endpoints.get(row["bot"])
        print_json(report)
    else:
        show(Console(highlight=False), report, endpoints)


def _watch(settings: Fleet, as_json: bool) -> None:
    """Shows a command that works on the fleet; with --json, each of its records on a line of stdout."""
    from pipeline.core.store import Store
    from pipeline.operate.watch import START_SECONDS, follow

    with Progress() as progress:
        on_record = {"on_record": print_json} if as_json else {}
        follow(Store.of(settings), progress, start_seconds=START_SECONDS, **on_record)


def sweep(
    fleet: FleetFile,
    bots: BotsOption = None,
    wait: WaitOption = False,
    set_: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Try the recipes of the section `sweep` on a few bots; print the best as a `train:` section."""
    from pipeline.operate.sweep import section, table
    from pipeline.operate.sweep import sweep as try_recipes

    with session(), Progress() as progress:
        result = try_recipes(fleets.load(fleet, set_), progress, names_of(bots), wait)
    if as_json:
        print_json(result)
    else:
        Console(stderr=True).print(table(result))
        print(section(result), end="")


def pretrain(
    fleet: FleetFile,
    from_: Annotated[
        str | None, typer.Option("--from", metavar="BASE", help="adapt this base model instead of starting at random")
    ] = None,
    set_: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a base model from the text of `tweets`, as the section `pretrain` says."""
    from pipeline.base.pretrain import pretrain as train_base
    from pipeline.operate.adapt import adapt_base

    settings = fleets.load(fleet, [*(set_ or []), *([] if from_ is None else [f"base_model={from_}"])])
    with session(), Progress() as progress:
        ensure()
        metrics = adapt_base(settings, progress) if from_ else train_base(settings, progress)
    if as_json:
        print_json(metrics)
    else:
        say(f"{settings.pretrain.out}: held-out perplexity {metrics['perplexity']:.1f}")


def _run_steps(settings: Fleet, steps: tuple[Any, ...], bots: str | None, wait: bool, again: bool = False) -> "Report":
    from pipeline.run import run as run_steps

    with session(), Progress() as progress:
        return run_steps(settings, steps, progress, names_of(bots), again, wait)


def _finish(report: "Report", bots: str | None, as_json: bool) -> None:
    """Prints the report, the table for `bots` only (--bots); exits with code 3 if any bot of the fleet failed."""
    from pipeline.report.terminal import show

    if as_json:
        print_json(report)
    elif not logs.as_json():
        show(Console(stderr=True, highlight=False), report, only=names_of(bots))
    if any(row["status"] == "failed" for row in report["bots"]):
        raise typer.Exit(3)
