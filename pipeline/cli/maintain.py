"""Commands that maintain a fleet: `sync` with W&B, `forget` a person, `gc`."""

from typing import Annotated

import typer

from pipeline.cli.options import FleetFile, JsonOption, SetOption, WaitOption, print_json, say
from pipeline.core import fleet as fleets
from pipeline.core.errors import UsageError
from pipeline.core.names import handle_of, not_a_handle
from pipeline.core.progress import Progress


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
    wait: WaitOption = False,
    set_: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Remove a person: tweets, bots, blends, endpoints, hub repositories (token in HF_TOKEN)."""
    from pipeline.operate.forget import forget as forget_person

    person = handle_of(handle)
    if person is None:
        raise UsageError(not_a_handle(handle))
    result = forget_person(fleets.load(fleet, set_), person, wait, say)
    for item in result.removed:
        say(f"removed  {item.kind} {item.name}")
    for item in result.left:
        say(f"left     {item.kind} {item.name}: {item.reason}")
    say(f"@{person} is forgotten: {len(result.removed)} things removed")
    if as_json:
        print_json(result)
    if not result.complete:
        raise typer.Exit(1)


def gc(
    fleet: FleetFile,
    grace: Annotated[
        float, typer.Option("--grace", metavar="SECONDS", help="keep what changed within this time; default: an hour")
    ] = 3600.0,
    wait: WaitOption = False,
    set_: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Delete versions that are neither in use nor served."""
    from pipeline.operate.gc import gc as collect

    result = collect(fleets.load(fleet, set_), grace, wait, say)
    for unused in result.removed:
        say(unused.path)
    say(f"removed {len(result.removed)} things, {sum(unused.bytes for unused in result.removed):,} bytes")
    if result.kept_by_grace:
        size = sum(unused.bytes for unused in result.kept_by_grace)
        say(
            f"{len(result.kept_by_grace)} more, {size:,} bytes, changed within the last {grace / 60:.0f} minutes; "
            "`--grace 0` removes them, too, if no run is under way"
        )
    if as_json:
        print_json(result.removed)
