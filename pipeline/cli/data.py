"""What goes in and what leaves: `fetch`, `pretrain`, `export` a bot, `sync` with W&B, `forget` a person."""

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from pipeline.cli.options import DebugOption, FleetFile, JsonOption, SetOption, app, say_json
from pipeline.core import fleet as fleets
from pipeline.core.errors import UsageError
from pipeline.core.names import handle_of, not_a_handle, parse_bot_name
from pipeline.core.progress import Progress
from pipeline.core.ray_session import session


@app.command()
def fetch(
    accounts: Annotated[
        list[str], typer.Argument(metavar="ACCOUNT…", help="nasa (X), ada.bsky.social, @ada@ferry.example (Mastodon)")
    ],
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="where the posts go, a file for each account")],
    consent: Annotated[
        Literal["own"] | None,
        typer.Option("--consent", help="the accounts are yours, or their owners agreed: a published no does not count"),
    ] = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Download posts from X (with X_BEARER_TOKEN), Bluesky and Mastodon."""
    from pipeline.tweets.download.accounts import parse_accounts
    from pipeline.tweets.download.fetch import fetch as download

    with Progress() as progress:
        results = download(parse_accounts(accounts), out, progress, consent=consent == "own")
    if as_json:
        say_json([vars(result) for result in results])
    if any(result.status == "failed" for result in results):
        raise typer.Exit(3)


@app.command()
def pretrain(
    fleet: FleetFile,
    from_: Annotated[
        str | None, typer.Option("--from", metavar="BASE", help="adapt this base instead of starting at random")
    ] = None,
    set_: SetOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Make a base model from the text of `tweets`, as the section `pretrain` says; `--from` adapts one to it."""
    from pipeline.base import pretrain as pretraining
    from pipeline.core.ray_session import ensure
    from pipeline.run import adapt_base

    base = [] if from_ is None else [f"base_model={from_}"]
    settings = fleets.load(fleet, [*(set_ or []), *base])
    with session(), Progress() as progress:
        ensure()
        metrics = adapt_base(settings, progress) if from_ else pretraining.pretrain(settings, progress)
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
    from pipeline.core.store import Store
    from pipeline.publish.hub import export as export_bot

    version = export_bot(Store.of(fleets.load(fleet, set_)), parse_bot_name(bot), to)
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


@app.command()
def forget(
    fleet: FleetFile,
    handle: Annotated[str, typer.Argument(metavar="HANDLE")],
    set_: SetOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Take a person out for good: tweets, bots, blends, endpoints, hub repositories (token in HF_TOKEN)."""
    from pipeline.operate.forget import forget as forget_person

    person = handle_of(handle)
    if person is None:
        raise UsageError(not_a_handle(handle))
    result = forget_person(fleets.load(fleet, set_), person)
    for item in result["removed"]:
        print(f"removed  {item['kind']} {item['name']}", file=sys.stderr)
    for item in result["left"]:
        print(f"left     {item['kind']} {item['name']}: {item['reason']}", file=sys.stderr)
    print(f"@{person} is forgotten: {len(result['removed'])} things removed", file=sys.stderr)
    if as_json:
        say_json(result)
    if any(item["kind"] in ("endpoint", "repository") for item in result["left"]):
        raise typer.Exit(1)
