"""Commands about people and their data: `new` and `show` fleet files, `fetch`, `sync` with W&B, `forget`."""

import json
from pathlib import Path
from typing import Annotated, Literal

import typer

from pipeline.cli.options import FleetFile, JsonOption, SetOption, print_json, say
from pipeline.core import fleet as fleets
from pipeline.core.errors import UsageError
from pipeline.core.names import handle_of, not_a_handle
from pipeline.core.progress import Progress


def fetch(
    accounts: Annotated[
        list[str], typer.Argument(metavar="ACCOUNT…", help="nasa (X), ada.bsky.social, @ada@ferry.example (Mastodon)")
    ],
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="folder for the posts, one file per account")],
    consent: Annotated[
        Literal["own"] | None,
        typer.Option("--consent", help="the accounts are yours, or their owners agreed: ignore a published opt-out"),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Download posts from X (bearer token in X_BEARER_TOKEN), Bluesky and Mastodon."""
    from pipeline.tweets.download.accounts import parse_accounts
    from pipeline.tweets.download.fetch import fetch as download

    with Progress() as progress:
        results = download(parse_accounts(accounts), out, progress, consent=consent == "own")
    if as_json:
        print_json(results)
    if any(result.status == "failed" for result in results):
        raise typer.Exit(3)


def new(
    sources: Annotated[list[str], typer.Argument(metavar="FILE…", help="archives, files, folders or globs of tweets")],
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FLEET.yaml", help="the file to write; default: HANDLE.yaml")
    ] = None,
    handle: Annotated[
        str | None, typer.Option("--handle", help="whose tweets these are, if the files do not say")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Write a fleet file for your archive or files, and say what was found in them."""
    from pipeline.operate.new import new as new_fleet

    if handle is not None and handle_of(handle) is None:
        raise UsageError(f"--handle: {not_a_handle(handle)}")
    path, found = new_fleet(sources, out, handle)
    for person, tweets in list(found.people.items())[:10]:
        say(f"{person}: {tweets}")
    if len(found.people) > 10:
        say(f"and {len(found.people) - 10:,} more people")
    for problem in found.problems:
        say(f"warning: {problem}")
    say(f"wrote {path}; next: huggingtweets run {path}")
    if as_json:
        print_json({"fleet_file": str(path), "people": found.people, "rejects": found.rejects})


def show(fleet: FleetFile, set_: SetOption = None, as_json: JsonOption = False) -> None:
    """Print all settings in force, and where each comes from."""
    from pipeline.operate.show import in_force

    settings = in_force(fleets.load(fleet, set_), set_ or [])
    if as_json:
        print_json({setting.key: {"value": setting.value, "from": setting.origin} for setting in settings})
        return
    width = max(len(setting.key) for setting in settings)
    for setting in settings:
        value = json.dumps(setting.value, ensure_ascii=False)
        print(f"{setting.key:<{width}}  {setting.origin:<10}  {value}")


def sync(fleet: FleetFile, set_: SetOption = None, as_json: JsonOption = False) -> None:
    """Send the runs that W&B does not have yet (key in WANDB_API_KEY)."""
    from pipeline.track.sync import sync as send

    with Progress() as progress:
        result = send(fleets.load(fleet, set_), progress)
    say(f"synced {result['synced']} runs, {result['waiting']} wait")
    for problem in result["problems"]:
        say(f"W&B: {problem}")
    if as_json:
        print_json(result)
    if result["waiting"] or result["problems"]:
        raise typer.Exit(1)


def forget(
    fleet: FleetFile,
    handle: Annotated[str, typer.Argument(metavar="HANDLE")],
    set_: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Remove a person: tweets, bots, blends, endpoints, hub repositories (token in HF_TOKEN)."""
    from pipeline.operate.forget import forget as forget_person

    person = handle_of(handle)
    if person is None:
        raise UsageError(not_a_handle(handle))
    result = forget_person(fleets.load(fleet, set_), person)
    for item in result.removed:
        say(f"removed  {item.kind} {item.name}")
    for item in result.left:
        say(f"left     {item.kind} {item.name}: {item.reason}")
    say(f"@{person} is forgotten: {len(result.removed)} things removed")
    if as_json:
        print_json(result)
    if not result.complete:
        raise typer.Exit(1)
