"""`huggingtweets demo`: the bundled sample from tweets to bots that answer over HTTP, on this machine.

It is the same as `run` and `deploy` on pipeline/assets/demo.yaml, on a Ray cluster that ends with the command.
"""

import contextlib
import json
import math
import os
import signal
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.panel import Panel

from pipeline.core import fleet as fleets
from pipeline.core.model_folder import parameters
from pipeline.core.own_code import ASSETS
from pipeline.core.progress import Progress
from pipeline.core.proxies import open_directly
from pipeline.core.ray_session import ensure
from pipeline.operate.published import published
from pipeline.plan.job import Job, open_job
from pipeline.report.terminal import show
from pipeline.run import STEPS, run
from serve.http.keys import bearer

PROMPT = "My dream is"
_SAMPLE_TOKENS = 36_000  # of the sample, in an epoch
_OPERATIONS_PER_SECOND = 40e9  # of one core in training, measured on a Xeon with AVX-512


def demo(storage: Path, settings: list[str], once: bool) -> int:
    """Runs the sample fleet and serves it until Ctrl-C, or just long enough to ask each bot with `once`.

    Returns the exit code: 3 if a bot failed, else 0.
    """
    console, started = Console(stderr=True, highlight=False), time.monotonic()
    fleet = fleets.load(ASSETS / "demo.yaml", [f"storage={json.dumps(str(storage.absolute()))}", *settings])
    console.print(_expectation(open_job(fleet), os.cpu_count() or 1))
    with Progress(console) as progress:
        ensure()
        report = run(fleet, STEPS, progress)
    job, versions = published(fleet)
    from serve.deploy import deploy, undeploy  # Ray Serve is imported once training is over

    try:
        with Progress(console) as progress:
            progress.start("deploy", len(versions), f"{len(versions)} endpoints")
            address = deploy(fleet, job.store, versions)["address"]
            progress.advance(address, count=len(versions))
            progress.start("ask", len(versions), f"each bot to continue “{PROMPT}”")
            answers = _ask_all(address, sorted(versions), bearer(fleet.serve), progress)
        show(console, report)
        for bot, texts in answers.items():
            title = f"{bot} (AI bot)  {address}/bots/{bot}"
            console.print(Panel(escape("\n".join(texts)), title=title, title_align="left"))
        console.print(f"{len(versions)} bots in {time.monotonic() - started:.0f} s; talk to them at {address}")
        if not once:
            console.print(f'try: curl {address}/bots/{sorted(versions)[0]} -d \'{{"inputs": "{PROMPT}"}}\'')
            console.print("serving until Ctrl-C …")
            _wait_for_interrupt()
    finally:
        undeploy(fleet.fleet)
    return 3 if any(row["status"] == "failed" for row in report["bots"]) else 0


def _expectation(job: Job, cores: int) -> str:
    """How long the training will take on CPUs."""
    size = parameters(job.base) or 0
    operations = 6 * size * _SAMPLE_TOKENS * job.train.epochs  # per token and parameter 2 forward and 4 backward
    minutes = operations / (_OPERATIONS_PER_SECOND * cores) / 60
    takes = "less than a minute" if minutes < 1 else f"some {math.ceil(minutes)} minutes"
    about = f"{Path(job.fleet.base_model).name} ({size / 1e6:,.0f} million parameters)"
    return f"four bots on {about}: training takes {takes} on {cores} CPU core{'s' if cores > 1 else ''}"


def _ask_all(address: str, bots: list[str], keys: dict[str, str], progress: Progress) -> dict[str, list[str]]:
    """Three texts from each bot over HTTP; the bots are asked at once, so that their replicas start together."""

    def ask(bot: str) -> list[str]:
        body = {"inputs": PROMPT, "parameters": {"num_return_sequences": 3, "seed": 1}}
        headers = {"Content-Type": "application/json"} | keys
        request = urllib.request.Request(f"{address}/bots/{bot}", json.dumps(body).encode(), headers)
        with open_directly(request, timeout=120) as reply:
            texts = [answer["generated_text"] for answer in json.load(reply)]
        progress.advance(bot)
        return texts

    with ThreadPoolExecutor(len(bots)) as pool:
        return dict(zip(bots, pool.map(ask, bots), strict=True))


def _wait_for_interrupt() -> None:
    """Returns on Ctrl-C or SIGTERM."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            time.sleep(3600)
