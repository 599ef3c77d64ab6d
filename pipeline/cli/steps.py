"""From tweets to published bots: `run` and its steps, `status`, and `demo`, the whole of it on the sample."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from pipeline.cli.options import BotsOption, DebugOption, FleetFile, JsonOption, SetOption, app, names_of, say_json
from pipeline.core import fleet as fleets
from pipeline.core import logs
from pipeline.core.errors import UsageError
from pipeline.core.fleet import Fleet
from pipeline.core.progress import Progress
from pipeline.core.ray_session import session


@app.command()
def run(
    fleet: FleetFile,
    deploy: Annotated[bool, typer.Option("--deploy", help="also deploy the bots")] = False,
    bots: BotsOption = None,
    set_: SetOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Every step, each only where its inputs changed."""
    from pipeline.cli.serving import deploy_fleet
    from pipeline.run import STEPS

    report = _steps(fleet, list(STEPS), bots, set_, as_json)
    if deploy:
        report["deployed"] = deploy_fleet(fleets.load(fleet, set_), names_of(bots))
    _finish(report, as_json)


def _step_command(step: str, text: str) -> None:
    @app.command(step, help=text)
    def command(
        fleet: FleetFile,
        bots: BotsOption = None,
        set_: SetOption = None,
        as_json: JsonOption = False,
        debug: DebugOption = False,
    ) -> None:
        _finish(_steps(fleet, [step], bots, set_, as_json), as_json)


@app.command()
def prepare(
    fleet: FleetFile,
    preview: Annotated[
        str | None,
        typer.Option("--preview", metavar="HANDLE", help="show what is kept of one person, what is not, and why"),
    ] = None,
    bots: BotsOption = None,
    set_: SetOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Read, clean, count and tokenise the tweets."""
    if preview is None:
        _finish(_steps(fleet, ["prepare"], bots, set_, as_json), as_json)
        return
    from pipeline import tweets
    from pipeline.core.names import handle_of, not_a_handle
    from pipeline.prepare.preview import lines
    from pipeline.prepare.preview import preview as preview_of

    settings, handle = fleets.load(fleet, set_), handle_of(preview)
    if handle is None:
        raise UsageError(f"--preview: {not_a_handle(preview)}")
    with session():
        seen = preview_of(tweets.find(settings.tweets, settings.owners), handle, settings.filters)
    if as_json:
        say_json(seen)
    else:
        print("\n".join(lines(seen)))


_step_command("train", "Train the bots that are prepared.")
_step_command("evaluate", "Measure what bots are worth, anew: held-out loss, voice, copies, variety, safety.")


@app.command()
def publish(
    fleet: FleetFile,
    hub: Annotated[
        str | None, typer.Option("--hub", metavar="ORG", help="also push to the Hugging Face hub (token in HF_TOKEN)")
    ] = None,
    bots: BotsOption = None,
    set_: SetOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Make model folders with card and picture of trained bots."""
    report = _steps(fleet, ["publish"], bots, set_, as_json)
    if hub is not None:
        report["pushed"] = _push(fleets.load(fleet, set_), names_of(bots), hub)
    _finish(report, as_json)
    if any(row["status"] == "failed" for row in report.get("pushed", [])):
        raise typer.Exit(3)


def _push(settings: Fleet, only: list[str] | None, org: str) -> list[dict[str, Any]]:
    from pipeline.publish.hub import push
    from pipeline.run import versions

    job, found = versions(settings, only)
    with Progress() as progress:
        return [vars(result) for result in push(job.store, found, org, settings.publish.private, progress)]


@app.command()
def sweep(
    fleet: FleetFile,
    bots: BotsOption = None,
    set_: SetOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Try recipes on a few bots, as the section `sweep` says; the best as a `train:` section on stdout."""
    from pipeline.operate.sweep import section, table
    from pipeline.operate.sweep import sweep as try_recipes

    with session(), Progress() as progress:
        result = try_recipes(fleets.load(fleet, set_), progress, names_of(bots))
    if as_json:
        say_json(result)
    else:
        Console(stderr=True).print(table(result))
        print(section(result), end="")


@app.command()
def status(
    fleet: FleetFile,
    watch: Annotated[bool, typer.Option("--watch", help="show a run under way until it ends, then the table")] = False,
    bots: BotsOption = None,
    set_: SetOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """A table: each bot, its version, counts, loss, endpoint, last error."""
    from pipeline.operate.status import status as status_of
    from pipeline.report.table import show

    settings = fleets.load(fleet, set_)
    if watch:
        _watch(settings, as_json)
    report, endpoints = status_of(settings, names_of(bots))
    if as_json:
        rows = [row | {"endpoint": endpoints.get(row["bot"])} for row in report["bots"]]
        say_json(report | {"bots": rows})
    else:
        show(Console(highlight=False), report, endpoints)


def _watch(settings: Fleet, as_json: bool) -> None:
    """Shows a command that works on the fleet; with --json, each of its records on a line of stdout."""
    from pipeline.core.store import Store
    from pipeline.operate.watch import follow

    with Progress() as progress:
        follow(Store.of(settings), progress, *([say_json] if as_json else []))


@app.command()
def demo(
    once: Annotated[bool, typer.Option("--once", help="exit when the bots have spoken")] = False,
    storage: Annotated[Path, typer.Option(help="where the fleet is kept")] = Path("fleets"),
    set_: SetOption = None,
    debug: DebugOption = False,
) -> None:
    """The whole thing on the bundled sample, ending in working endpoints."""
    from pipeline.operate.demo import demo as show

    with session():
        code = show(storage, set_ or [], once)
    raise typer.Exit(code)


def _steps(
    fleet_file: Path, steps: list[str], bots: str | None, settings: list[str] | None, as_json: bool
) -> dict[str, Any]:
    from pipeline import run

    with session(), Progress() as progress:
        return run.run(fleets.load(fleet_file, settings), steps, progress, names_of(bots))


def _finish(report: dict[str, Any], as_json: bool) -> None:
    """Shows the report and leaves with the exit code that it deserves."""
    from pipeline.report.table import show

    if as_json:
        say_json(report)
    elif not logs.as_json():
        show(Console(stderr=True, highlight=False), report)
    if any(row["status"] == "failed" for row in report["bots"]):
        raise typer.Exit(3)
