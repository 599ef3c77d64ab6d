"""Commands that maintain a fleet: `sync` with W&B, `forget` a person and `readmit` them, `gc`."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.options import FleetFile, JsonOption, SetOption, WaitOption, print_json, say
from pipeline.core import fleet as fleets
from pipeline.core.errors import UsageError, UserError
from pipeline.core.names import handle_of, not_a_handle
from pipeline.core.progress import Progress

if TYPE_CHECKING:
    from pipeline.operate.forget import Forgotten
    from pipeline.report.rows import Report


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
    retrain: Annotated[
        bool, typer.Option("--retrain", help="also run the fleet, and delete bots whose base had learned from them")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="only list what would be removed")] = False,
    wait: WaitOption = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="do not ask on a terminal")] = False,
    set_: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Remove a person: tweets, bots, blends, endpoints, hub repositories (token in HF_TOKEN)."""
    from pipeline.operate import forget as forgetting

    settings, person = fleets.load(fleet, set_), _person(handle)
    if dry_run or (sys.stdin.isatty() and not yes):
        _show_forgotten(planned := forgetting.plan_to_forget(settings, person), "would remove")
        if dry_run:
            if as_json:
                print_json(planned)
            return
        typer.confirm(f"Remove all of this about @{planned.handle}?", abort=True, err=True)
    report: Report | None = None
    if retrain:
        with Progress() as progress:
            result, report = forgetting.forget_and_retrain(settings, person, progress, wait)
    else:
        result = forgetting.forget(settings, person, wait, say)
    _show_forgotten(result, "removed")
    say(f"@{result.handle} is forgotten: {len(result.removed)} things removed")
    if as_json:
        print_json(result)
    if not result.complete:
        raise typer.Exit(1)
    if report and any(row["status"] == "failed" for row in report["bots"]):
        raise typer.Exit(3)


def readmit(
    fleet: FleetFile,
    handle: Annotated[str, typer.Argument(metavar="HANDLE")],
    wait: WaitOption = False,
    set_: SetOption = None,
) -> None:
    """Let a person in again who was removed by `forget`: the next `run` reads their tweets."""
    from pipeline.operate.forget import readmit as readmit_person

    person = _person(handle)
    if not readmit_person(fleets.load(fleet, set_), person, wait, say):
        raise UserError(f"@{person} was not removed from this fleet")
    say(f"@{person} may be in the fleet again; next: huggingtweets run {fleet}")


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


def _person(handle: str) -> str:
    person = handle_of(handle)
    if person is None:
        raise UsageError(not_a_handle(handle))
    return person


def _show_forgotten(result: "Forgotten", verb: str) -> None:
    width = len("would remove")
    for item in result.removed:
        say(f"{verb:<{width}}  {item.kind} {item.name}")
    for item in result.left:
        say(f"{'left':<{width}}  {item.kind} {item.name}: {item.reason}")
