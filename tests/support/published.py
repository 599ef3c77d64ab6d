"""A fleet with published bots that nobody trained: small files, made by hand, where a run leaves them in the store."""

import json
from pathlib import Path
from typing import Any

from pipeline.core.fleet import Fleet, load
from pipeline.core.names import handles_of
from pipeline.core.settings import Train
from pipeline.core.store import Store
from pipeline.plan import provenance

STEPS = 120


def fleet_of(folder: Path, bots: tuple[str, ...], **keys: Any) -> Fleet:
    """Writes a fleet file, each person's tweets as CSV beside it, and these bots, published, into its store."""
    path = folder / "birds.yaml"
    settings = {"fleet": "birds", "tweets": ["tweets/*.csv"], "serve": {"port": 1}, "wandb": {"mode": "online"}}
    path.write_text(json.dumps(settings | keys))
    fleet = load(path)
    store = Store.of(fleet)
    people = sorted({handle for bot in bots for handle in handles_of(bot)})
    (folder / "tweets").mkdir(exist_ok=True)
    for handle in people:
        (folder / "tweets" / f"{handle}.csv").write_text(f'id,text\n1,"A tweet of {handle}, about rain and nests."\n')
        store.write(f"work/tweets/{handle}.parquet", b"tweets")
    index = {"people": {handle: person(handle) for handle in people}, "problems": {}, "owners": {}, "rejects": 0}
    store.write("work/people.json", json.dumps(index | {"fingerprint": "x"}).encode())
    for bot in bots:
        publish(store, bot)
    report(store, bots)
    return fleet


def person(handle: str) -> dict[str, Any]:
    """A person's entry of work/people.json."""
    return {"handle": handle, "counts": counts(), "chars": 50000, "tokens": 900, "digest": digest(handle)}


def counts() -> dict[str, int]:
    """The counts of tweets, the same for each person."""
    return {"downloaded": 130, "retweets": 20, "short": 10, "kept": 100}


def digest(handle: str) -> str:
    """What stands for the hash of a person's kept tweets: 64 hexadecimal digits."""
    return (handle.encode().hex() * 64)[:64]


def metrics() -> dict[str, Any]:
    """A metrics.json, the same for each bot; its bots take people for @stork three times of five."""
    held_out = {"loss": 3.5, "perplexity": 33.1, "base_loss": 5.0, "base_perplexity": 148.4, "tokens": 300}
    samples = {"My dream is": ["My dream is rain", "My dream is 🐦"], "": ["Rain again."]}
    voice = {"top1": 0.5, "attributed": [["stork", 3], ["wren", 2]]}
    measured = {"held_out": held_out, "voice": voice, "samples": samples}
    return measured | {"train": {"loss": 3.1, "steps": STEPS, "tokens": 9000, "seconds": 1.5}}


def publish(store: Store, bot: str, version: str = "0123456789ab") -> None:
    """Writes a bot's published folder, and makes it the current version."""
    handles = handles_of(bot)
    losses, rates = [6 - step / STEPS for step in range(STEPS)], [1e-3] * STEPS
    digests = {handle: digest(handle) for handle in handles}
    base = {"name": "mini", "hash": "ba5e" * 16}
    files = {
        "model.safetensors": b"w" * 1000,
        provenance.FILE: provenance.record(base, digests, Train(seed=7), losses, rates),
        "metrics.json": json.dumps(metrics()).encode(),
        "stats.json": json.dumps({"handles": handles, "tweets": {one: counts() for one in handles}}).encode(),
        "README.md": b"a card",
    }
    store.write_folder(f"bots/{bot}/{version}", files)
    store.write(f"bots/{bot}/current", version.encode())


def report(store: Store, bots: tuple[str, ...], version: str = "0123456789ab") -> list[dict[str, Any]]:
    """Writes report.json, in which nothing had to be done; returns its rows."""
    rows = [
        {"bot": bot, "status": "unchanged", "version": version, "metrics": metrics()}
        | {"reason": None, "warning": None, "tweets": {handle: counts() for handle in handles_of(bot)}}
        for bot in bots
    ]
    store.write("report.json", json.dumps({"fleet": "birds", "seconds": {}, "bots": rows}).encode())
    return rows
