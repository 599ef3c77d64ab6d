"""Commands that use published bots: `generate`, `chat`, `deploy`, `undeploy`, `export`."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.options import BotsOption, FleetFile, JsonOption, SetOption, names_of, print_json, say
from pipeline.core import fleet as fleets


def generate(
    fleet: FleetFile,
    bot: Annotated[str, typer.Argument(metavar="BOT")],
    prompt: Annotated[str, typer.Argument(metavar="PROMPT")] = "My dream is",
    n: Annotated[int, typer.Option("-n", help="number of texts")] = 5,
    seed: Annotated[int | None, typer.Option(help="the same seed gives the same texts")] = None,
    set_: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print texts of a published bot, without Serve."""
    from pipeline.operate.generate import LocalBot

    texts = LocalBot.load(fleets.load(fleet, set_), bot).generate(prompt, num_return_sequences=n, seed=seed)
    if as_json:
        print_json([{"generated_text": text} for text in texts])
    else:
        print("\n".join(texts))


def chat(
    fleet: FleetFile,
    bot: Annotated[str, typer.Argument(metavar="BOT")],
    set_: SetOption = None,
) -> None:
    """Talk with a published bot in the terminal; /help lists what can be changed."""
    from pipeline.operate.chat import chat as talk
    from pipeline.operate.generate import LocalBot

    talk(LocalBot.load(fleets.load(fleet, set_), bot), input, print)


def deploy(
    fleet: FleetFile,
    bots: BotsOption = None,
    set_: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Serve the published bots over HTTP; start a local Ray head if no cluster runs."""
    from pipeline.operate.deploy import deploy as deploy_bots

    deployed = deploy_bots(fleets.load(fleet, set_), names_of(bots), say)
    if as_json:
        print_json(deployed)


def undeploy(
    fleet: FleetFile,
    bots: BotsOption = None,
    set_: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Stop serving the fleet's bots; stop the local Ray head of `deploy` with the last one."""
    from pipeline.operate.deploy import undeploy as undeploy_bots

    removed = undeploy_bots(fleets.load(fleet, set_), names_of(bots), say)
    if as_json:
        print_json({"removed": removed})


def export(
    fleet: FleetFile,
    bot: Annotated[str, typer.Argument(metavar="BOT")],
    to: Annotated[Path, typer.Option("--to", metavar="FOLDER", help="a new or empty folder")],
    set_: SetOption = None,
) -> None:
    """Copy the model folder of a published bot."""
    from pipeline.core.names import parse_bot_name
    from pipeline.core.store import Store
    from pipeline.publish.export import export as export_bot

    version = export_bot(Store.of(fleets.load(fleet, set_)), parse_bot_name(bot), to)
    say(f"{to}: {bot} in version {version}")
