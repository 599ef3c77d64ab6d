"""The commands: `huggingtweets COMMAND FLEET.yaml [arguments] [options]`; no logic here.

    huggingtweets run fleet.yaml --set train.epochs=2
    python -m pipeline status fleet.yaml --json

Exit codes: 0 every bot is fine; 3 some bots failed; 2 the command line or the YAML is wrong; 1 anything else.
"""

import contextlib
import json
import logging
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from pipeline import fleet as fleets
from pipeline.errors import UserError, one_line
from pipeline.fleet import Fleet
from pipeline.progress import Progress
from pipeline.session import session

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Many people's tweets in, one talking bot per person out.",
)

FleetFile = Annotated[Path, typer.Argument(metavar="FLEET.yaml", help="the fleet file")]
BotsOption = Annotated[str | None, typer.Option("--bots", metavar="A,B", help="only these bots")]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="override a key of the fleet file")
]
JsonOption = Annotated[bool, typer.Option("--json", help="machine-readable on stdout")]
DebugOption = Annotated[bool, typer.Option("--debug", help="show the traceback of an error")]


def main() -> None:
    """The console script: one clear line per error, the traceback behind --debug."""
    debug = "--debug" in sys.argv
    logging.basicConfig(format="%(message)s", level=logging.WARNING, stream=sys.stderr)
    # Ray's processes may say something on stdout at any time; with --json only the answer belongs there
    elsewhere = contextlib.redirect_stdout(sys.stderr) if "--json" in sys.argv else contextlib.nullcontext()
    try:
        with elsewhere:
            app()
    except UserError as error:
        _fail(error, error.exit_code, debug)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    except Exception as error:
        _fail(error, 1, debug)


def _fail(error: Exception, code: int, debug: bool) -> None:
    if debug:
        raise error
    print(f"error: {one_line(error)}", file=sys.stderr)
    sys.exit(code)


def _steps(
    fleet_file: Path, steps: list[str], bots: str | None, settings: list[str] | None, as_json: bool
) -> dict[str, Any]:
    from pipeline import run

    with session(), Progress() as progress:
        return run.run(fleets.load(fleet_file, settings), steps, progress, _names(bots))


def _names(bots: str | None) -> list[str] | None:
    return (
        None if bots is None else [name.strip().removeprefix("@").lower() for name in bots.split(",") if name.strip()]
    )


def _say_json(value: Any) -> None:
    print(json.dumps(value, ensure_ascii=False), file=sys.__stdout__, flush=True)


def _finish(report: dict[str, Any], as_json: bool) -> None:
    """Shows the report and leaves with the exit code that it deserves."""
    from pipeline.report import table

    if as_json:
        _say_json(report)
    else:
        Console(stderr=True).print(table(report))
    if any(row["status"] == "failed" for row in report["bots"]):
        raise typer.Exit(3)


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
    from pipeline.run import STEPS

    report = _steps(fleet, list(STEPS), bots, set_, as_json)
    if deploy:
        report["deployed"] = _deploy(fleets.load(fleet, set_), _names(bots))
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


_step_command("prepare", "Read, clean, count and tokenise the tweets.")
_step_command("train", "Train the bots that are prepared.")
_step_command("evaluate", "Measure the held-out loss of trained bots.")


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
        report["pushed"] = _push(fleets.load(fleet, set_), _names(bots), hub)
    _finish(report, as_json)
    if any(row["status"] == "failed" for row in report.get("pushed", [])):
        raise typer.Exit(3)


def _push(settings: Fleet, only: list[str] | None, org: str) -> list[dict[str, Any]]:
    from pipeline.hub import push
    from pipeline.run import versions

    job, found = versions(settings, only)
    with Progress() as progress:
        return [vars(result) for result in push(job.store, found, org, settings.publish.private, progress)]


@app.command()
def export(
    fleet: FleetFile,
    bot: Annotated[str, typer.Argument(metavar="BOT")],
    to: Annotated[Path, typer.Option("--to", metavar="FOLDER", help="a new or empty folder")],
    set_: SetOption = None,
    debug: DebugOption = False,
) -> None:
    """Copy a published bot's model folder."""
    from pipeline.hub import export as export_bot
    from pipeline.plan import named
    from pipeline.store import Store

    version = export_bot(Store.of(fleets.load(fleet, set_)), named(bot), to)
    print(f"{to}: {bot} in version {version}", file=sys.stderr)


@app.command()
def fetch(
    handles: Annotated[list[str], typer.Argument(metavar="HANDLE…", help="whose tweets")],
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="where the pages go, a file a handle")],
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Download tweets through the X API v2; the bearer token is in X_BEARER_TOKEN."""
    from pipeline.fetch import fetch as fetch_tweets
    from pipeline.fetch import handles_of, token

    with Progress() as progress:
        results = fetch_tweets(handles_of(handles), out, token(), progress)
    if as_json:
        _say_json([vars(result) for result in results])
    if any(result.status == "failed" for result in results):
        raise typer.Exit(3)


@app.command()
def deploy(
    fleet: FleetFile,
    bots: BotsOption = None,
    set_: SetOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Add or update the fleet's endpoints on the running Serve."""
    deployed = _deploy(fleets.load(fleet, set_), _names(bots))
    if as_json:
        _say_json(deployed)


def _deploy(settings: Fleet, only: list[str] | None) -> dict[str, Any]:
    """Deploys to the running cluster, or to a local head that stays."""
    from pipeline.run import versions
    from pipeline.session import join, start_head

    job, found = versions(settings, only)
    with session():
        if not join():
            print(start_head("--include-dashboard=false"), file=sys.stderr)
        from serve.deploy import deploy as deploy_bots

        deployed = deploy_bots(settings, job.store, found)
    for bot in sorted(found):
        print(f"{bot}: {deployed['address']}/bots/{bot}", file=sys.stderr)
    return deployed


@app.command()
def undeploy(
    fleet: FleetFile,
    bots: BotsOption = None,
    set_: SetOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Remove the fleet's endpoints; the last one takes the local head along that `deploy` started."""
    from pipeline.session import join, stop_head

    settings = fleets.load(fleet, set_)
    gone: list[str] = []
    with session():
        if join():
            from serve.deploy import served
            from serve.deploy import undeploy as undeploy_bots

            gone = undeploy_bots(settings.fleet, _names(bots))
            if not served() and stop_head():
                print("stopped the local Ray head", file=sys.stderr)
    print(f"removed {len(gone)} endpoints", file=sys.stderr)
    if as_json:
        _say_json({"removed": gone})


@app.command()
def status(
    fleet: FleetFile,
    bots: BotsOption = None,
    set_: SetOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """A table: each bot, its version, counts, loss, endpoint, last error."""
    from pipeline.report import table
    from pipeline.status import status as status_of

    report, endpoints = status_of(fleets.load(fleet, set_), _names(bots))
    if as_json:
        rows = [row | {"endpoint": endpoints.get(row["bot"])} for row in report["bots"]]
        _say_json(report | {"bots": rows})
    else:
        Console().print(table(report, endpoints))


@app.command()
def generate(
    fleet: FleetFile,
    bot: Annotated[str, typer.Argument(metavar="BOT")],
    prompt: Annotated[str, typer.Argument(metavar="PROMPT")] = "My dream is",
    n: Annotated[int, typer.Option("-n", help="how many continuations")] = 5,
    seed: Annotated[int | None, typer.Option(help="the same seed says the same")] = None,
    set_: SetOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Sample in the terminal, without Serve."""
    from serve.sample import sample

    said = sample(fleets.load(fleet, set_), bot, prompt, n, seed)
    if as_json:
        _say_json([{"generated_text": text} for text in said])
    else:
        print("\n".join(said))


@app.command()
def submit(
    fleet: FleetFile,
    address: Annotated[str, typer.Option("--address", metavar="URL", help="the cluster's dashboard")],
    no_wait: Annotated[bool, typer.Option("--no-wait", help="return when the job is taken")] = False,
    bots: BotsOption = None,
    set_: SetOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Run the fleet as a job on a cluster; this code and local tweets travel along."""
    from pipeline.submit import submit as submit_job

    with Progress() as progress:
        job = submit_job(fleets.load(fleet, set_), address, _names(bots), not no_wait, progress)
    if as_json:
        _say_json(job)
    raise typer.Exit(job["exit_code"] or 0)


@app.command()
def gc(fleet: FleetFile, set_: SetOption = None, as_json: JsonOption = False, debug: DebugOption = False) -> None:
    """Remove versions from the store that are neither in use nor served."""
    from pipeline.gc import gc as collect

    gone = collect(fleets.load(fleet, set_))
    for one in gone:
        print(one["path"], file=sys.stderr)
    print(f"removed {len(gone)} things, {sum(one['bytes'] for one in gone):,} bytes", file=sys.stderr)
    if as_json:
        _say_json(gone)


@app.command()
def doctor(fleet: FleetFile, set_: SetOption = None, as_json: JsonOption = False, debug: DebugOption = False) -> None:
    """Check the cluster before a fleet: versions, GPUs, store, host names, tokens, room."""
    from pipeline.doctor import doctor as look

    with session():
        findings = look(fleets.load(fleet, set_))
    for one in findings:
        advice = f"\n           {one['advice']}" if one["level"] != "ok" else ""
        print(f"{one['level']:>7}  {one['check']}: {one['found']}{advice}", file=sys.stderr)
    if as_json:
        _say_json(findings)
    if any(one["level"] == "error" for one in findings):
        raise typer.Exit(1)


@app.command()
def pretrain(fleet: FleetFile, set_: SetOption = None, as_json: JsonOption = False, debug: DebugOption = False) -> None:
    """Make a base model from the text of `tweets`, as the section `pretrain` says."""
    from pipeline import pretrain as pretraining
    from pipeline.session import ensure

    settings = fleets.load(fleet, set_)
    with session(), Progress() as progress:
        ensure()
        metrics = pretraining.pretrain(settings, progress)
    if as_json:
        _say_json(metrics)
    else:
        print(f"{settings.pretrain.out}: held-out perplexity {metrics['perplexity']:.1f}", file=sys.stderr)


@app.command()
def demo(
    once: Annotated[bool, typer.Option("--once", help="exit when the bots have spoken")] = False,
    storage: Annotated[Path, typer.Option(help="where the fleet is kept")] = Path("fleets"),
    set_: SetOption = None,
    debug: DebugOption = False,
) -> None:
    """The whole thing on the bundled sample, ending in working endpoints."""
    from pipeline.demo import demo as show

    with session():
        code = show(storage, set_ or [], once)
    raise typer.Exit(code)


if __name__ == "__main__":
    main()
