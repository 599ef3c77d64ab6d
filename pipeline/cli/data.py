"""What goes in and what leaves: `fetch` tweets, `pretrain` a base, `export` a bot, `sync` with W&B."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from pipeline import fleet as fleets
from pipeline.cli.options import DebugOption, FleetFile, JsonOption, SetOption, app, say_json
from pipeline.progress import Progress
from pipeline.session import session


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
        say_json([vars(result) for result in results])
    if any(result.status == "failed" for result in results):
        raise typer.Exit(3)


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
        say_json(metrics)
    else:
        print(f"{settings.pretrain.out}: held-out perplexity {metrics['perplexity']:.1f}", file=sys.stderr)


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
def sync(fleet: FleetFile, set_: SetOption = None, as_json: JsonOption = False, debug: DebugOption = False) -> None:
    """Send to W&B what it does not have yet (key in WANDB_API_KEY); goes on where it stopped."""
    from pipeline.track.sync import sync as send

    with Progress() as progress:
        result = send(fleets.load(fleet, set_), progress)
    print(f"synced {result['synced']} runs, {result['waiting']} wait", file=sys.stderr)
    for problem in result["problems"]:
        print(f"W&B: {problem}", file=sys.stderr)
    if as_json:
        say_json(result)
    if result["waiting"] or result["problems"]:
        raise typer.Exit(1)
