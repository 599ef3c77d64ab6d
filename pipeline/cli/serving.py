"""Bots that answer: `deploy`, `undeploy`, and `generate`, which needs no Serve."""

import sys
from typing import Annotated, Any

import typer

from pipeline.cli.options import BotsOption, DebugOption, FleetFile, JsonOption, SetOption, app, names_of, say_json
from pipeline.core import fleet as fleets
from pipeline.core.fleet import Fleet
from pipeline.core.ray_session import session


@app.command()
def deploy(
    fleet: FleetFile,
    bots: BotsOption = None,
    set_: SetOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Add or update the fleet's endpoints on the running Serve."""
    deployed = deploy_fleet(fleets.load(fleet, set_), names_of(bots))
    if as_json:
        say_json(deployed)


def deploy_fleet(settings: Fleet, only: list[str] | None) -> dict[str, Any]:
    """Deploys to the running cluster, or to a local head that stays."""
    from pipeline.core.ray_session import join, start_head
    from pipeline.run import versions

    job, found = versions(settings, only)
    with session():
        if not join():
            print(start_head("--include-dashboard=false"), file=sys.stderr)
        from serve.deploy import deploy as deploy_bots
        from serve.http.keys import load as load_keys

        deployed = deploy_bots(settings, job.store, found, whole=only is None)
    for bot in sorted(found):
        print(f"{bot}: {deployed['address']}/bots/{bot}", file=sys.stderr)
    if settings.serve.host not in ("127.0.0.1", "localhost", "::1") and not load_keys(settings.serve):
        hint = "set serve.keys_file or HUGGINGTWEETS_KEYS to ask for a key"
        print(f"warning: everybody who reaches {deployed['address']} may ask; {hint}", file=sys.stderr)
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
    from pipeline.core.ray_session import join, stop_head

    settings = fleets.load(fleet, set_)
    gone: list[str] = []
    with session():
        if join():
            from serve.deploy import served
            from serve.deploy import undeploy as undeploy_bots

            gone = undeploy_bots(settings.fleet, names_of(bots))
            if not served() and stop_head():
                print("stopped the local Ray head", file=sys.stderr)
    print(f"removed {len(gone)} endpoints", file=sys.stderr)
    if as_json:
        say_json({"removed": gone})


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
    from pipeline.operate.sample import sample

    said = sample(fleets.load(fleet, set_), bot, prompt, n, seed)
    if as_json:
        say_json([{"generated_text": text} for text in said])
    else:
        print("\n".join(said))
