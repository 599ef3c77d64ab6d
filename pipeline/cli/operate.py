"""For whoever runs a cluster: `submit` a fleet as a job, `doctor` before it, `gc` after many."""

import sys
from typing import Annotated

import typer

from pipeline.cli.options import BotsOption, DebugOption, FleetFile, JsonOption, SetOption, app, names_of, say_json
from pipeline.core import fleet as fleets
from pipeline.core.progress import Progress
from pipeline.core.ray_session import session


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
    from pipeline.operate.submit import submit as submit_job

    with Progress() as progress:
        job = submit_job(fleets.load(fleet, set_), address, names_of(bots), not no_wait, progress)
    if as_json:
        say_json(job)
    raise typer.Exit(job["exit_code"] or 0)


@app.command()
def gc(fleet: FleetFile, set_: SetOption = None, as_json: JsonOption = False, debug: DebugOption = False) -> None:
    """Remove versions from the store that are neither in use nor served."""
    from pipeline.operate.gc import gc as collect

    gone = collect(fleets.load(fleet, set_))
    for one in gone:
        print(one["path"], file=sys.stderr)
    print(f"removed {len(gone)} things, {sum(one['bytes'] for one in gone):,} bytes", file=sys.stderr)
    if as_json:
        say_json(gone)


@app.command()
def doctor(fleet: FleetFile, set_: SetOption = None, as_json: JsonOption = False, debug: DebugOption = False) -> None:
    """Check the cluster before a fleet: versions, GPUs, store, host names, tokens, room."""
    from pipeline.operate.doctor import doctor as look

    with session():
        findings = look(fleets.load(fleet, set_))
    for one in findings:
        advice = f"\n           {one['advice']}" if one["level"] != "ok" else ""
        print(f"{one['level']:>7}  {one['check']}: {one['found']}{advice}", file=sys.stderr)
    if as_json:
        say_json(findings)
    if any(one["level"] == "error" for one in findings):
        raise typer.Exit(1)
