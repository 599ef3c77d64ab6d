"""Commands that use published bots: `generate`, `chat`, `deploy`, `undeploy`, `verify`, `detect`, `export`."""

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

    loaded = LocalBot.load(fleets.load(fleet, set_), bot)
    if as_json:
        print_json(loaded.signed(prompt, num_return_sequences=n, seed=seed))
    else:
        print("\n".join(loaded.generate(prompt, num_return_sequences=n, seed=seed)))


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
    new_key: Annotated[
        bool,
        typer.Option(
            "--new-signing-key", help="sign and mark answers with new keys from now on; the old ones still check"
        ),
    ] = False,
    bots: BotsOption = None,
    set_: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Serve the published bots over HTTP; start a local Ray head if no cluster runs."""
    from pipeline.operate.deploy import deploy as deploy_bots

    deployed = deploy_bots(fleets.load(fleet, set_), names_of(bots), say, new_key)
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


def verify(
    keys: Annotated[
        Path,
        typer.Argument(metavar="FLEET.yaml", help="the fleet file, a bot's model card, or a huggingtweets-keys.json"),
    ],
    bot: Annotated[str | None, typer.Argument(metavar="BOT")] = None,
    text: Annotated[str | None, typer.Argument(metavar="TEXT", help="what the bot wrote, without the prompt")] = None,
    signature: Annotated[str | None, typer.Argument(metavar="SIGNATURE")] = None,
    prompt: Annotated[str | None, typer.Option(help="also check that this is what the bot continued")] = None,
    picture: Annotated[
        Path | None, typer.Option(metavar="PNG", help="check the answer in a picture, in place of BOT TEXT SIGNATURE")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Check whether a bot wrote a text, and when; needs no server. Exit code 1: it did not."""
    from pipeline.core.signing import iso_time, verdict
    from pipeline.operate.verify import Claim, claim_in, keyring_in

    claim = claim_in(picture) if picture else Claim.of(bot, text, signature, prompt)
    found = claim.check(keyring_in(keys))
    if as_json:
        print_json(verdict(found))
    elif found:
        print(f"valid: {found.bot} wrote this in version {found.version} at {iso_time(found.at)}: {claim.text.strip()}")
    else:
        say(f"not valid: none of the keys in {keys} signed this as a text of {claim.bot}")
    if not found:
        raise typer.Exit(1)


def detect(
    fleet: FleetFile,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="posts: one a line, or in any format of `tweets`")],
    set_: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check whether the fleet's bots wrote a set of posts, by the watermark in them. Exit code 1: none was found."""
    from pipeline.operate.detect import detect as look_for_mark

    found = look_for_mark(fleets.load(fleet, set_), file)
    basis = f"p = {found.p_value:.2g}, from {found.posts} posts with {found.tokens} tokens, repetitions left out"
    if as_json:
        print_json(found)
    elif found.key_created is not None:
        print(f"marked: bots of this fleet wrote these posts, or many of them ({basis}; key of {found.key_created})")
    elif found.marked is None:
        print(f"cannot tell: there is too little text ({basis})")
    else:
        print(f"not marked: these posts have no watermark of this fleet ({basis})")
    if not found.marked:
        raise typer.Exit(1)


def export(
    fleet: FleetFile,
    bot: Annotated[str, typer.Argument(metavar="BOT")],
    to: Annotated[Path, typer.Option("--to", metavar="FOLDER", help="a new or empty folder")],
    gguf: Annotated[
        bool, typer.Option("--gguf", help="write BOT.gguf there in its place, for llama.cpp, Ollama, LM Studio")
    ] = False,
    set_: SetOption = None,
) -> None:
    """Copy the model folder of a published bot."""
    from pipeline.core.names import parse_bot_name
    from pipeline.core.store import Store
    from pipeline.publish.export import export as export_folder
    from pipeline.publish.export import export_gguf

    export_bot = export_gguf if gguf else export_folder
    version = export_bot(Store.of(fleets.load(fleet, set_)), parse_bot_name(bot), to)
    say(f"{to}: {bot} in version {version}")
