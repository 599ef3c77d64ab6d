"""`huggingtweets demo`: the bundled sample from tweets to bots that answer over HTTP, on this machine.

It is the same as `run` and `deploy` on pipeline/assets/demo.yaml, on a cluster that ends with it.
"""

import contextlib
import json
import signal
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.panel import Panel

from pipeline.core import fleet as fleets
from pipeline.core.own_code import ASSETS
from pipeline.core.progress import Progress
from pipeline.core.ray_session import ensure
from pipeline.report.table import show
from pipeline.run import STEPS, run, versions

PROMPT = "My dream is"


def demo(storage: Path, settings: list[str], once: bool) -> int:
    """Runs the sample fleet and serves it until Ctrl-C (or `once`); returns the exit code."""
    console, started = Console(stderr=True, highlight=False), time.monotonic()
    fleet = fleets.load(ASSETS / "demo.yaml", [f"storage={json.dumps(str(storage.absolute()))}", *settings])
    with Progress(console) as progress:
        ensure()
        report = run(fleet, list(STEPS), progress)
    job, found = versions(fleet)
    from serve.deploy import deploy, undeploy
    from serve.http.keys import bearer

    try:
        with Progress(console) as progress:
            progress.start("deploy", len(found), f"{len(found)} endpoints")
            address = deploy(fleet, job.store, found)["address"]
            progress.advance(address, count=len(found))
            progress.start("ask", len(found), f"each bot how it goes on from “{PROMPT}”")
            answers = _ask_all(address, sorted(found), bearer(fleet.serve), progress)
        show(console, report)
        for bot, said in answers.items():
            title = f"{bot} (AI bot)  {address}/bots/{bot}"
            console.print(Panel(escape("\n".join(said)), title=title, title_align="left"))
        console.print(f"{len(found)} bots in {time.monotonic() - started:.0f} s; talk to them at {address}")
        if not once:
            console.print(f'try: curl {address}/bots/{sorted(found)[0]} -d \'{{"inputs": "{PROMPT}"}}\'')
            console.print("serving until Ctrl-C …")
            _wait()
    finally:
        undeploy(fleet.fleet)
    return 3 if any(row["status"] == "failed" for row in report["bots"]) else 0


def _ask_all(address: str, bots: list[str], keys: dict[str, str], progress: Progress) -> dict[str, list[str]]:
    """What each bot says over HTTP; all are woken at once."""

    def ask(bot: str) -> list[str]:
        body = {"inputs": PROMPT, "parameters": {"num_return_sequences": 3, "seed": 1}}
        headers = {"Content-Type": "application/json"} | keys
        request = urllib.request.Request(f"{address}/bots/{bot}", json.dumps(body).encode(), headers)
        with urllib.request.urlopen(request, timeout=120) as reply:
            said = [one["generated_text"] for one in json.load(reply)]
        progress.advance(bot)
        return said

    with ThreadPoolExecutor(len(bots)) as pool:
        return dict(zip(bots, pool.map(ask, bots), strict=True))


def _wait() -> None:
    """Until Ctrl-C, or a polite request to end."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            time.sleep(3600)
