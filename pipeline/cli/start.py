"""Commands to start with: `demo`, `new` and `show` for fleet files, `fetch` for posts."""

import json
from pathlib import Path
from typing import Annotated, Literal

import typer

from pipeline.cli.options import FleetFile, JsonOption, SetOption, print_json, say
from pipeline.core import fleet as fleets
from pipeline.core.errors import UsageError
from pipeline.core.names import handle_of, not_a_handle
from pipeline.core.progress import Progress
from pipeline.core.ray_session import session


def demo(
    once: Annotated[bool, typer.Option("--once", help="exit as soon as each bot has answered")] = False,
    storage: Annotated[Path, typer.Option(help="folder for the fleet")] = Path("fleets"),
    set_: SetOption = None,
) -> None:
    """Make four bots from the bundled sample tweets and serve them."""
    from pipeline.operate.demo import demo as run_demo

    with session():
        code = run_demo(storage, set_ or [], once)
    raise typer.Exit(code)


def new(
    sources: Annotated[list[str], typer.Argument(metavar="FILE…", help="archives, files, folders or globs of tweets")],
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FLEET.yaml", help="the file to write; default: HANDLE.yaml")
    ] = None,
    handle: Annotated[
        str | None, typer.Option("--handle", help="whose posts these are, if the files do not say")
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
