"""What is served, of all fleets: one small actor that `deploy` writes to and every gateway follows.

    handle = serve.get_deployment_handle("Registry", app_name="gateway")
    handle.put.remote("politicians", {"nasa": {"version": …, "settings": …}}).result()

A fleet's record (which bots, in which versions, with which settings) is kept in Ray's key-value store, so
that it outlives this process; what else is told about a bot (counts, metrics) is read from the fleet's
storage. Gateways ask for what has changed since they last asked; they go on with what they know while this
process is gone.
"""

import asyncio
import time
import uuid
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

from ray import serve
from ray.serve.api import RunTarget

from pipeline.core import logs
from pipeline.core.settings import Serve
from pipeline.core.store import Store
from serve.deployments import bot_records, endpoint
from serve.deployments.bot_records import Entry, Record
from serve.deployments.metrics import Report, Sums
from serve.deployments.mover import Mover

NAME = "Registry"
_POLL_SECONDS = 1.0  # how long a gateway's question waits for something to change
_GONE_SECONDS = 10.0  # without a question, until a gateway counts as gone
_WATCH_SECONDS = 2.0  # between looks at what is newly published on a disk; an object store is asked more rarely
_REMOTE_SECONDS = 30.0
_FOLLOW_SECONDS = 3.0  # until every gateway has surely heard of a move


@serve.deployment(
    name=NAME, num_replicas=1, max_ongoing_requests=1000, ray_actor_options={"num_cpus": 0}, health_check_period_s=2
)
class Registry:
    async def __init__(self) -> None:  # type: ignore[misc]
        self.epoch = uuid.uuid4().hex
        self.revision = 0
        self.fleets: dict[str, Record] = {}
        self.entries: dict[str, Entry] = {}
        self.changed_at: dict[str, int] = {}  # bot: the revision of its latest change; bots that are gone too
        self.changed = asyncio.Event()
        self.gateways: dict[str, float] = {}  # by id: when it last asked
        self.mover, self.sums = Mover(), Sums()
        self.dedicated: set[str] = set()  # of the bots of auto fleets, those with replicas of their own
        self.moving: dict[str, asyncio.Task[None]] = {}
        self.signing_key = await asyncio.to_thread(bot_records.signing_key)
        self.lock = asyncio.Lock()  # one change at a time
        for fleet, record in await asyncio.to_thread(bot_records.kept):
            await self._take(fleet, record)
        running = (await asyncio.to_thread(serve.status)).applications if self.entries else {}
        for bot in [bot for bot, entry in self.entries.items() if entry["endpoint"] == "auto"]:
            if endpoint.app_name(bot) in running:  # moved out in an earlier life of this process
                self._place(bot, "dedicated")
        self.tasks = [asyncio.create_task(self._move_bots()), asyncio.create_task(self._watch())]

    def check_health(self) -> None:
        if any(task.done() for task in self.tasks):
            raise RuntimeError("the registry has stopped watching")

    async def put(
        self,
        fleet: str,
        storage: str,
        bots: dict[str, Record],
        gateway: Record,
        follow: Record | None,
        some: bool = False,
    ) -> int:
        """Adds these bots to a fleet, or changes them: {name: {"version", "settings"}}; returns the table's revision.

        `gateway` is what the fleet wants of the gateway: {"keys": {digest: requests a minute or None}, "origins",
        "signing_key": in hex, or None for the cluster's}.
        `follow` says that what is published in the fleet's storage is served without being put here: {"settings",
        "chosen": the names of its bots, or None for all}; where these are only `some` of its bots, a fleet that is not
        followed stays so. Raises ValueError where another fleet has such a bot.
        """
        async with self.lock:
            for bot in bots:
                other = self.entries.get(bot, {}).get("fleet", fleet)
                if other != fleet:
                    raise ValueError(f"bot {bot} is already served for fleet {other}; undeploy it there first")
            record = self.fleets.get(fleet, {"bots": {}, "follow": None})
            follow = follow if record["follow"] or not some else None
            record = {"storage": storage, "bots": record["bots"] | bots, "gateway": gateway, "follow": follow}
            await asyncio.to_thread(bot_records.keep, fleet, record)
            await self._take(fleet, record)
            return self.revision

    async def remove(self, fleet: str, only: list[str] | None = None) -> list[str]:
        """Takes these bots of a fleet, or all of them, from the table; returns which were there."""
        async with self.lock:
            record = self.fleets.get(fleet, {"bots": {}})
            gone = sorted(bot for bot in record["bots"] if only is None or bot in only)
            if gone:
                left = {bot: one for bot, one in record["bots"].items() if bot not in gone}
                record = record | {"bots": left, "follow": None}  # what was taken away does not come back by itself
                await asyncio.to_thread(bot_records.keep, fleet, record)
                await self._take(fleet, record)
            return gone

    async def bots(self, fleet: str | None = None) -> dict[str, Record]:
        """{name: {"fleet", "version", "settings"}} of one fleet or of all."""
        return {
            bot: one | {"fleet": name}
            for name, record in self.fleets.items()
            if fleet in (None, name)
            for bot, one in record["bots"].items()
        }

    async def metrics(self) -> str:
        """The metrics of all gateways, in Prometheus' text format."""
        return self.sums.text(
            {
                "bots": ("Bots that are served", len(self.entries)),
                "bots_dedicated": ("Bots of auto fleets with replicas of their own now", len(self.dedicated)),
                "gateways": ("Gateways at work", len(self.gateways)),
            }
        )

    async def changes(self, gateway: str, epoch: str, since: int, told: dict[str, Any]) -> dict[str, Any]:
        """The news since a revision; waits a while for some. In turn the gateway tells how busy its bots are and what
        it counted: {"busy", "metrics"}."""
        self._hear(gateway, told["busy"], told["metrics"])
        if (epoch, since) == (self.epoch, self.revision):
            with suppress(TimeoutError):
                await asyncio.wait_for(self.changed.wait(), _POLL_SECONDS)
        return await self.news(epoch, since)

    async def news(self, epoch: str, since: int) -> dict[str, Any]:
        """What is new since a revision: {"bots": {name: entry, or None where it is gone}, …}, and what holds for all.

        `epoch` is the life of this process that the revision is of; for another one, all is new (`whole`).
        """
        whole = epoch != self.epoch
        changed = (bot for bot, at in self.changed_at.items() if at > since) if since < self.revision else ()
        wishes = [record["gateway"] for record in self.fleets.values()]
        return {
            "epoch": self.epoch,
            "revision": self.revision,
            "whole": whole,
            "bots": {bot: self.entries.get(bot) for bot in (self.entries if whole else changed)},
            "keys": {key: rate for wish in wishes for key, rate in wish["keys"].items()},
            "origins": sorted({origin for wish in wishes for origin in wish["origins"]}),
            "gateways": len(self.gateways),
            "storages": {fleet: record["storage"] for fleet, record in self.fleets.items()},
            "signing_keys": {fleet: self._signing_key(record["gateway"]) for fleet, record in self.fleets.items()},
        }

    def _hear(self, gateway: str, busy: dict[str, float], metrics: Report) -> None:
        now = time.monotonic()
        self.gateways = {one: at for one, at in self.gateways.items() if now - at < _GONE_SECONDS} | {gateway: now}
        self.mover.heard(gateway, busy)
        self.sums.take(gateway, metrics)
        self.sums.keep(set(self.gateways))

    def _signing_key(self, wish: Record) -> bytes:
        key = wish.get("signing_key")
        return bytes.fromhex(key) if key else self.signing_key

    async def _take(self, fleet: str, record: Record) -> None:
        """Makes a fleet's record the one in use: reads what is new, forgets what is gone, tells the gateways."""
        before = self.fleets.get(fleet, {"bots": {}})["bots"]
        gone = [bot for bot in before if bot not in record["bots"]]
        new = {bot: one for bot, one in record["bots"].items() if before.get(bot) != one}
        entries = await asyncio.to_thread(bot_records.entries, fleet, record["storage"], new)
        for bot in self.dedicated & set(entries):
            entries[bot]["where"] = "dedicated" if entries[bot]["endpoint"] == "auto" else entries[bot]["where"]
        self.revision += 1
        self.entries = {bot: one for bot, one in self.entries.items() if bot not in gone} | entries
        self.changed_at |= dict.fromkeys([*gone, *new], self.revision)
        self.dedicated -= {bot for bot in [*gone, *new] if self.entries.get(bot, {}).get("endpoint") != "auto"}
        self.fleets[fleet] = record
        if not record["bots"] and not record["follow"]:
            del self.fleets[fleet]
        self._tell()
        for bot in self.dedicated & set(new) - set(self.moving):  # its own replicas take over the new version, too
            self.moving[bot] = asyncio.create_task(self._moved(bot, self._run(bot)))

    def _tell(self) -> None:
        self.changed.set()
        self.changed = asyncio.Event()

    def _place(self, bot: str, where: str) -> None:
        """Tells the gateways where a bot of an auto fleet is answered from now."""
        self.dedicated = self.dedicated | {bot} if where == "dedicated" else self.dedicated - {bot}
        self.revision += 1
        self.entries[bot] = self.entries[bot] | {"where": where}
        self.changed_at[bot] = self.revision
        self._tell()

    def _settings(self, bot: str) -> Serve:
        return Serve(**self.fleets[self.entries[bot]["fleet"]]["bots"][bot]["settings"])

    async def _move_bots(self) -> None:
        """Moves bots of auto fleets out of the pool and back, as they are busy."""
        while True:
            await asyncio.sleep(_POLL_SECONDS)
            try:
                bots = {
                    bot: self._settings(bot)
                    for bot in self.mover.told() | self.dedicated
                    if bot not in self.moving and self.entries.get(bot, {}).get("endpoint") == "auto"
                }
                moves = self.mover.moves(bots, self.dedicated)
            except Exception:
                logs.log().exception("cannot tell which bots to move")
                continue
            for bot in moves.out:
                self.moving[bot] = asyncio.create_task(self._moved(bot, self._move_out(bot)))
            for bot in moves.back:
                self.moving[bot] = asyncio.create_task(self._moved(bot, self._move_back(bot)))

    async def _moved(self, bot: str, move: Coroutine[Any, Any, None]) -> None:
        try:
            await move
        except Exception:  # it is answered from where it was
            entry = self.entries.get(bot, {})
            logs.log(fleet=entry.get("fleet"), bot=bot, version=entry.get("version")).exception("was not moved")
        finally:
            del self.moving[bot]

    async def _move_out(self, bot: str) -> None:
        """Starts replicas of the bot's own; the pool answers until they do."""
        await self._run(bot)
        if bot in self.entries:
            self._place(bot, "dedicated")
        else:  # taken away meanwhile
            await asyncio.to_thread(serve.delete, endpoint.app_name(bot), _blocking=False)

    async def _move_back(self, bot: str) -> None:
        """Lets the pool answer, then ends the bot's own replicas, which finish what they are at."""
        self._place(bot, "pool")
        await asyncio.sleep(_FOLLOW_SECONDS)
        await asyncio.to_thread(serve.delete, endpoint.app_name(bot), _blocking=True)

    async def _run(self, bot: str) -> None:
        """Runs the bot's own application, in its version, until it is ready."""
        entry, settings = self.entries[bot], self._settings(bot)
        store = bot_records.storage(entry["fleet"], self.fleets[entry["fleet"]]["storage"])
        settings = settings.model_copy(update={"min_replicas": max(1, settings.min_replicas)})
        target = RunTarget(endpoint.application(bot, store, entry["version"], settings), endpoint.app_name(bot), None)
        await asyncio.to_thread(serve.run_many, [target])

    async def _watch(self) -> None:
        """Serves what is newly published in the storage of fleets that are followed."""
        seen: dict[str, dict[str, Any]] = {}  # by fleet: when each bot's folder changed
        asked: dict[str, float] = {}
        while True:
            await asyncio.sleep(_WATCH_SECONDS)
            for fleet, record in list(self.fleets.items()):
                store = bot_records.storage(fleet, record["storage"])
                pause = 0.0 if store.local else _REMOTE_SECONDS
                if not record["follow"] or time.monotonic() - asked.get(fleet, 0.0) < pause:
                    continue
                asked[fleet] = time.monotonic()
                try:
                    await self._look(fleet, record, store, seen.setdefault(fleet, {}))
                except Exception:  # the store is gone for a moment
                    logs.log(fleet=fleet).warning("cannot look for new bots", exc_info=True)

    async def _look(self, fleet: str, record: Record, store: Store, seen: dict[str, Any]) -> None:
        chosen = record["follow"]["chosen"]
        found = await asyncio.to_thread(bot_records.published, store, seen, chosen)
        new = {
            bot: {"version": version, "settings": record["follow"]["settings"]}
            for bot, version in found.items()
            if record["bots"].get(bot, {}).get("version") != version
            and self.entries.get(bot, {}).get("fleet", fleet) == fleet
        }
        if not new:
            return
        async with self.lock:
            latest = self.fleets.get(fleet)
            if latest and latest["follow"]:
                latest = latest | {"bots": latest["bots"] | new}
                await asyncio.to_thread(bot_records.keep, fleet, latest)
                await self._take(fleet, latest)
