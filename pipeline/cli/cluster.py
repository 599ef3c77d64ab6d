"""Commands for a cluster: `doctor`, `submit`."""

from typing import Annotated

import typer

from pipeline.cli.options import BotsOption, FleetFile, JsonOption, SetOption, names_of, print_json, say
from pipeline.core import fleet as fleets
from pipeline.core.progress import Progress
from pipeline.core.ray_session import session


def doctor(fleet: FleetFile, set_: SetOption = None, as_json: JsonOption = False) -> None:
    """Check a cluster before a fleet runs on it: versions, GPUs, storage, host names, tokens, disk."""
    from pipeline.operate.doctor import doctor as examine

    with session():
        findings = examine(fleets.load(fleet, set_))
    for finding in findings:
        advice = f"\n           {finding.advice}" if finding.level != "ok" else ""
        say(f"{finding.level:>7}  {finding.check}: {finding.found}{advice}")
    if as_json:
        print_json(findings)
    if any(finding.level == "error" for finding in findings):
        raise typer.Exit(1)


def submit(
    fleet: FleetFile,
    address: Annotated[str, typer.Option("--address", metavar="URL", help="URL of the cluster's dashboard")],
    deploy: Annotated[bool, typer.Option("--deploy", help="also deploy the bots on that cluster")] = False,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="return once the cluster has accepted the job")] = False,
    bots: BotsOption = None,
    set_: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run the fleet as a job on a cluster; this code and local tweets are sent along."""
    from pipeline.operate.submit import submit as submit_job

    with Progress() as progress:
        job = submit_job(fleets.load(fleet, set_), address, progress, names_of(bots), deploy, not no_wait)
    if as_json:
        print_json({"job": job.id, "exit_code": job.exit_code})
    raise typer.Exit(job.exit_code or 0)
