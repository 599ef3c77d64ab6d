"""Fleets and bots from Python, for scripts and notebooks: what the commands do, as four names.

    from huggingtweets import Fleet, client, load_bot, run

    fleet = Fleet("friends.yaml", {"train.epochs": 2})
    report = run(fleet)
    load_bot(fleet, "nasa").say("My dream is", n=3)
    client(fleet).say("nasa", "My dream is")             # over HTTP, once the fleet is deployed

docs/python.md describes it. These names and their arguments stay as they are; the packages behind them may change.
"""

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import httpx

from pipeline.core import fleet as fleet_file
from pipeline.core.errors import UserError as Error
from pipeline.core.proxies import bypass_proxies
from pipeline.core.store import Store
from serve.http.keys import bearer

if TYPE_CHECKING:
    from pipeline.operate.generate import LocalBot
    from pipeline.report.rows import Report

__all__ = ["Bot", "Client", "Error", "Fleet", "client", "load_bot", "run"]
_PAGE = 1_000  # bots in one page of a list


class Fleet:
    """A fleet of bots, as its fleet file describes it; `settings` holds every key (docs/settings.md)."""

    def __init__(self, source: str | Path | Mapping[str, Any], overrides: Mapping[str, Any] | None = None):
        """Reads a fleet file, or takes its keys as a mapping, whose paths are relative to the current folder.

        `overrides` are keys of the fleet file: `{"train.epochs": 2}`. Raises Error naming the key that is wrong.
        """
        changes = [f"{key}={json.dumps(value)}" for key, value in (overrides or {}).items()]
        if isinstance(source, Mapping):
            self.settings = fleet_file.of_keys(dict(source), Path.cwd(), changes)
        else:
            self.settings = fleet_file.load(source, changes)

    def __repr__(self) -> str:
        return f"<fleet {self.name} in {self.settings.storage}>"

    @property
    def name(self) -> str:
        """The fleet's name."""
        return self.settings.fleet

    def bots(self) -> dict[str, str]:
        """The published bots, with the version of each that is in use."""
        from pipeline.core.manifest import published

        return dict(sorted(published(Store.of(self.settings)).items()))


def run(fleet: Fleet, bots: Collection[str] | None = None) -> "Report":
    """Makes and publishes the fleet's bots, as `huggingtweets run` does; returns the content of report.json.

    Only what changed is made anew. `bots` limits the work to these. Where no Ray cluster runs, a local one is started
    for the length of the call. Raises Error; a bot that fails does not raise, its row in `report["bots"]` says so.
    """
    from pipeline.core.progress import Progress
    from pipeline.core.ray_session import session
    from pipeline.run import STEPS
    from pipeline.run import run as run_steps

    bypass_proxies()
    with session(), Progress() as progress:
        return run_steps(fleet.settings, STEPS, progress, None if bots is None else list(bots))


def load_bot(fleet: Fleet, bot: str) -> "Bot":
    """Loads the published version of a bot into this process; no server is needed. Raises Error.

    PyTorch computes with one thread afterwards: with more, models this small are many times slower.
    """
    from pipeline.operate.generate import LocalBot

    return Bot(LocalBot.load(fleet.settings, bot))


class Bot:
    """A bot in this process; made by `load_bot`."""

    def __init__(self, local: "LocalBot"):
        self._local = local
        self.name, self.version = local.name, local.version

    def __repr__(self) -> str:
        return f"<AI bot {self.name}, version {self.version}>"

    def say(self, prompt: str = "", n: int = 1, **parameters: Any) -> list[str]:
        """`n` texts that begin with the prompt. Parameters and limits are those of docs/http.md: `seed=1`, `top_p=0.9`.

        Raises Error naming a parameter that is wrong.
        """
        return self._local.generate(prompt, num_return_sequences=n, **parameters)


def client(address: str | Fleet = "http://127.0.0.1:8000", key: str | None = None) -> "Client":
    """A client of bots that are served. A fleet stands for the address and the key in its fleet file."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    if isinstance(address, Fleet):
        serve = address.settings.serve
        address, headers = f"http://{serve.host}:{serve.port}", headers or bearer(serve)
    return Client(address, headers)


class Client:
    """Asks bots over HTTP; made by `client`."""

    def __init__(self, address: str, headers: dict[str, str]):
        bypass_proxies()
        self.address = address.rstrip("/")
        self._http = httpx.Client(base_url=self.address, headers=headers, timeout=120)

    def __repr__(self) -> str:
        return f"<client of {self.address}>"

    def bots(self) -> list[str]:
        """The names of all bots that are served, sorted. Raises Error."""
        names: list[str] = []
        cursor: str | None = ""
        while cursor is not None:
            page = self._ask("GET", "/bots", params={"limit": _PAGE, "cursor": cursor})
            names += [bot["name"] for bot in page["bots"]]
            cursor = page["next"]
        return names

    def about(self, bot: str) -> dict[str, Any]:
        """What the server shows of a bot: version, people, counts, metrics. Raises Error."""
        return self._ask("GET", f"/bots/{quote(bot, safe='')}")

    def say(self, bot: str, prompt: str = "", n: int = 1, **parameters: Any) -> list[str]:
        """`n` texts of a bot that begin with the prompt, as `Bot.say`. Raises Error with the server's message."""
        body = {"inputs": prompt, "parameters": {"num_return_sequences": n} | parameters}
        return [answer["generated_text"] for answer in self._ask("POST", f"/bots/{quote(bot, safe='')}", json=body)]

    def _ask(self, method: str, path: str, **options: Any) -> Any:
        try:
            reply = self._http.request(method, path, **options)
            content = reply.json()
        except (httpx.HTTPError, ValueError) as error:
            raise Error(f"{self.address}: no answer of a bot server: {error}") from None
        if reply.is_error:
            raise Error(f"{self.address}{path}: {_message(content, reply.status_code)}")
        return content


def _message(content: Any, status: int) -> str:
    error = content.get("error") if isinstance(content, dict) else None
    text = error.get("message") if isinstance(error, dict) else error
    return str(text or f"status {status}")
