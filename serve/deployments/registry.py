"""What is served, of all fleets: one small actor that `deploy` writes to and every gateway follows.

    handle = serve.get_deployment_handle("Registry", app_name="gateway")
    handle.put.remote("politicians", storage, {"nasa": {"version": "0123456789ab", "settings": {}}}, gateway, None)

What is served is kept in Ray's key-value store (saved_state.py), so that it outlives this process; what a gateway
shows of a bot is read from the fleet's storage (published.py), which is watched for new versions. Gateways ask for
what has changed since they last asked, and continue with what they know while this process is gone.
"""

import asyncio
import time
import uuid
from collections.abc import Coroutine, Iterable
from contextlib import suppress
from typing import Any

from ray import serve
from ray.serve.api import RunTarget

from pipeline.core import logs
from pipeline.core.names import short_name
from pipeline.core.settings import Serve
from pipeline.core.signing import Keyring
from pipeline.core.store import Store
from serve.deployments import endpoint, published, ray_internals, saved_state
from serve.deployments.game import Game
from serve.deployments.gateway_messages import GatewayReport, News
from serve.deployments.gateway_metrics import MetricSums
from serve.deployments.placement import Mover
from serve.deployments.published import BotEntry, Watcher, open_storage
from serve.deployments.saved_state import BotRecord, FleetRecord, GatewaySettings, NewBots, ServedBot
from serve.http.public_facts import Outcome

NAME = "Registry"
_POLL_SECONDS = 1.0  # how long a gateway's question waits for something to change
_GONE_SECONDS = 10.0  # without a question, until a gateway counts as gone
_WATCH_SECONDS = 2.0  # between looks at what is newly published
_FOLLOW_SECONDS = 3.0  # until every gateway knows where a bot is answered from
_FROM_FILES = ("names", "pictures", "counts", "metrics", "complete")  # fields of an entry
_BATCH = 100  # applications that change to a new version together


@serve.deployment(
    name=NAME, num_replicas=1, max_ongoing_requests=1000, ray_actor_options={"num_cpus": 0}, health_check_period_s=2
)
class Registry:
    """The table of all bots that are served."""

    async def __init__(self) -> None:  # type: ignore[misc]
        ray_internals.listen_on_loopback()
        self.epoch = uuid.uuid4().hex
        self.revision = 0
        self.fleets: dict[str, FleetRecord] = {}
        self.keyrings: dict[str, Keyring] = {}  # by fleet
        self.old_link_keys: dict[str, bytes | None] = {}
        self.entries: dict[str, BotEntry] = {}
        self.changed_at: dict[str, int] = {}  # bot: the revision of its latest change; bots that are gone too
        self.changed = asyncio.Event()
        self.gateways: dict[str, float] = {}  # by id: when it last asked
        self.mover, self.sums = Mover(), MetricSums()
        self.dedicated: set[str] = set()  # of the bots of auto fleets, those with replicas of their own
        self.moving: dict[str, asyncio.Task[None]] = {}  # by bot of an auto fleet
        self.rolling: dict[str, asyncio.Task[None]] = {}  # by fleet: its replicas change to new versions
        self.answer_key = await asyncio.to_thread(saved_state.answer_key)
        self.old_link_key = await asyncio.to_thread(saved_state.old_link_key)
        self.game = Game(await asyncio.to_thread(saved_state.load_tallies))
        self.lock = asyncio.Lock()  # one change at a time
        for fleet, record in (await asyncio.to_thread(saved_state.load_all)).items():
            await self._take(fleet, record)
        running = (await asyncio.to_thread(serve.status)).applications if self.entries else {}
        auto = [bot for bot, entry in self.entries.items() if entry["endpoint"] == "auto"]
        for bot in [bot for bot in auto if endpoint.app_name(bot) in running]:  # moved out by an earlier process
            self._set_location(bot, "dedicated")
        self.tasks = [asyncio.create_task(self._move_bots()), asyncio.create_task(self._watch())]

    def check_health(self) -> None:
        """Raises RuntimeError if this process should be started again."""
        if any(task.done() for task in self.tasks):
            raise RuntimeError("the registry has stopped watching")

    async def put(
        self,
        fleet: str,
        storage: str,
        bots: dict[str, BotRecord],
        gateway: GatewaySettings,
        follow: NewBots | None,
        partial: bool = False,
    ) -> int:
        """Adds bots to a fleet or changes them; returns the revision of the table that has them.

        With `follow`, bots that are published later are served too, unless these are only a part of the fleet
        (`partial`) and it was not followed before. Raises ValueError if another fleet has a bot of that name.
        """
        async with self.lock:
            for name in saved_state.by_served_name(fleet, bots):
                other = self.entries[name]["fleet"] if name in self.entries else fleet
                if other != fleet:
                    raise ValueError(f"bot {name} is already served for fleet {other}; undeploy it there first")
            before = self.fleets.get(fleet)
            if partial and not (before and before["follow"]):
                follow = None
            bots = (before["bots"] if before else {}) | bots
            await self._change(fleet, {"storage": storage, "bots": bots, "gateway": gateway, "follow": follow})
            return self.revision

    async def remove(self, fleet: str, only: list[str] | None = None) -> list[str]:
        """Removes these bots of a fleet, or all of them; returns the names of those that were served."""
        async with self.lock:
            record = self.fleets.get(fleet)
            if not record:
                return []
            gone = sorted(bot for bot in record["bots"] if only is None or bot in only)
            if gone:
                left = {bot: one for bot, one in record["bots"].items() if bot not in gone}
                # without `follow`: what was removed does not come back by itself
                await self._change(fleet, {**record, "bots": left, "follow": None})
            return gone

    async def bots(self, fleet: str | None = None) -> dict[str, ServedBot]:
        """The bots of one fleet or of all, by the names under which they are served."""
        return {
            bot: {**one, "fleet": name, "newer": self.entries[bot]["newer"]}
            for name, record in self.fleets.items()
            if fleet in (None, name)
            for bot, one in saved_state.by_served_name(name, record["bots"]).items()
        }

    async def requires_key(self, fleet: str) -> bool:
        """Whether the fleet, as it is served now, has keys."""
        return fleet in self.fleets and bool(self.fleets[fleet]["gateway"]["keys"])

    async def metrics(self) -> str:
        """The metrics of all gateways, in Prometheus' text format."""
        return self.sums.text(
            {
                "bots": ("Bots that are served", len(self.entries)),
                "bots_dedicated": ("Bots of auto fleets with replicas of their own now", len(self.dedicated)),
                "gateways": ("Gateways at work", len(self.gateways)),
            }
        )

    async def begin_round(self, bot: str, real: int) -> str:
        """Opens a round of the game with a bot; see game.py."""
        return self.game.begin(bot, self.entries[bot]["version"], real)

    async def end_round(self, bot: str, round_id: str, pick: int) -> Outcome | None:
        """Ends a round of the game; None if there is no such open round."""
        version = self.entries[bot]["version"] if bot in self.entries else ""
        outcome = self.game.end(bot, version, round_id, pick)
        if outcome:
            self._update([bot], fooled=outcome["fooled"])
            if bot in self.game.tallies:
                await asyncio.to_thread(saved_state.save_tally, bot, self.game.tallies[bot])
        return outcome

    async def changes(self, gateway: str, epoch: str, since: int, report: GatewayReport) -> News:
        """The news since a revision; waits up to a second for some. `gateway` is the id of the gateway that reports."""
        self._take_report(gateway, report)
        if (epoch, since) == (self.epoch, self.revision):
            with suppress(TimeoutError):
                await asyncio.wait_for(self.changed.wait(), _POLL_SECONDS)
        return await self.news(epoch, since)

    async def news(self, epoch: str, since: int) -> News:
        """The news since a revision of the registry process `epoch`."""
        whole = epoch != self.epoch
        changed = (bot for bot, at in self.changed_at.items() if at > since) if since < self.revision else ()
        gateways = [record["gateway"] for record in self.fleets.values()]
        return {
            "epoch": self.epoch,
            "revision": self.revision,
            "whole": whole,
            "bots": {bot: self.entries.get(bot) for bot in (self.entries if whole else changed)},
            "keys": {key: rate for one in gateways for key, rate in one["keys"].items()},
            "origins": sorted({origin for one in gateways for origin in one["origins"]}),
            "gateways": len(self.gateways),
            "storages": {fleet: record["storage"] for fleet, record in self.fleets.items()},
            "keyrings": {fleet: self.keyrings[fleet] for fleet in self.fleets},
            "old_link_keys": {fleet: self.old_link_keys[fleet] for fleet in self.fleets},
            "watermarks": {fleet: saved_state.own_watermark(one["gateway"]) for fleet, one in self.fleets.items()},
        }

    def _take_report(self, gateway: str, report: GatewayReport) -> None:
        now = time.monotonic()
        self.gateways = {one: at for one, at in self.gateways.items() if now - at < _GONE_SECONDS} | {gateway: now}
        self.mover.report(gateway, report["busy"])
        self.sums.take(gateway, report["metrics"])
        self.sums.keep(set(self.gateways))

    async def _change(self, fleet: str, record: FleetRecord) -> None:
        """Saves a fleet's record and makes it the one in use. The caller holds the lock."""
        await asyncio.to_thread(saved_state.save, fleet, record)
        await self._take(fleet, record)

    async def _take(self, fleet: str, record: FleetRecord) -> None:
        """Makes a fleet's record the one in use: reads what is new, forgets what is gone, notifies the gateways."""
        before = saved_state.by_served_name(fleet, self.fleets[fleet]["bots"]) if fleet in self.fleets else {}
        wanted = saved_state.by_served_name(fleet, record["bots"])
        gone = [bot for bot in before if bot not in wanted]
        new = {bot: one for bot, one in wanted.items() if before.get(bot) != one}
        store = open_storage(fleet, record["storage"])
        entries = await asyncio.to_thread(published.read_entries, store, new)
        for bot in self.dedicated & set(entries):
            if entries[bot]["endpoint"] == "auto":
                entries[bot]["where"] = "dedicated"
        if gone:
            await asyncio.to_thread(saved_state.delete_tallies, self.game.drop(gone))
        for bot, entry in entries.items():
            if entry["fooled"]:
                entry["fooled"] = self.game.fooled(bot, entry["version"])
        self.revision += 1
        self.entries = {bot: one for bot, one in self.entries.items() if bot not in gone} | entries
        self.changed_at |= dict.fromkeys([*gone, *new], self.revision)
        self.dedicated -= set(gone) | {bot for bot in new if entries[bot]["endpoint"] != "auto"}
        self.fleets[fleet] = record
        self.keyrings[fleet] = Keyring(saved_state.own_answer_keys(record["gateway"]) or (self.answer_key,))
        self.old_link_keys[fleet] = saved_state.own_old_link_key(record["gateway"]) or self.old_link_key
        if not record["bots"] and not record["follow"]:
            del self.fleets[fleet]
        self._notify()
        for bot in self.dedicated & set(new) - set(self.moving):  # its own replicas change to the new version, too
            self.moving[bot] = asyncio.create_task(self._run_move(bot, self._start_replicas(bot)))

    def _update(self, bots: Iterable[str], **fields: Any) -> None:
        """Changes these fields of the entries of bots, and notifies the gateways."""
        self.revision += 1
        for bot in bots:
            self.entries[bot] = BotEntry(**(self.entries[bot] | fields))  # type: ignore[typeddict-item]
            self.changed_at[bot] = self.revision
        self._notify()

    def _notify(self) -> None:
        self.changed.set()
        self.changed = asyncio.Event()

    def _set_location(self, bot: str, where: str) -> None:
        """Sets where a bot of an auto fleet is answered from."""
        self.dedicated = self.dedicated | {bot} if where == "dedicated" else self.dedicated - {bot}
        self._update([bot], where=where)

    def _settings(self, bot: str) -> Serve:
        return Serve(**self.fleets[self.entries[bot]["fleet"]]["bots"][short_name(bot)]["settings"])

    async def _move_bots(self) -> None:
        """Moves bots of auto fleets to replicas of their own while they are busy, and back."""
        while True:
            await asyncio.sleep(_POLL_SECONDS)
            try:
                bots = {
                    bot: self._settings(bot)
                    for bot in self.mover.reported() | self.dedicated
                    if bot not in self.moving and bot in self.entries and self.entries[bot]["endpoint"] == "auto"
                }
                moves = self.mover.moves(bots, self.dedicated)
            except Exception:
                logs.log().exception("the bots to move cannot be chosen")
                continue
            for bot in moves.out:
                self.moving[bot] = asyncio.create_task(self._run_move(bot, self._move_out(bot)))
            for bot in moves.back:
                self.moving[bot] = asyncio.create_task(self._run_move(bot, self._move_back(bot)))

    async def _run_move(self, bot: str, move: Coroutine[Any, Any, None]) -> None:
        try:
            await move
        except Exception:  # it is answered from where it was
            about = {name: self.entries[bot][name] for name in ("fleet", "version")} if bot in self.entries else {}
            logs.log(**about, bot=bot).exception("was not moved")
        finally:
            del self.moving[bot]

    async def _move_out(self, bot: str) -> None:
        """Starts replicas of the bot's own; the pool answers until they are ready."""
        await self._start_replicas(bot)
        if bot in self.entries:
            self._set_location(bot, "dedicated")
        else:  # removed meanwhile
            await asyncio.to_thread(serve.delete, endpoint.app_name(bot), _blocking=False)

    async def _move_back(self, bot: str) -> None:
        """Lets the pool answer, then removes the bot's own replicas, which finish their requests first."""
        self._set_location(bot, "pool")
        await asyncio.sleep(_FOLLOW_SECONDS)
        await asyncio.to_thread(serve.delete, endpoint.app_name(bot), _blocking=True)

    async def _start_replicas(self, bot: str) -> None:
        """Runs the own application of a bot of an auto fleet, in its version, until it is ready."""
        entry, settings = self.entries[bot], self._settings(bot)
        store = open_storage(entry["fleet"], self.fleets[entry["fleet"]]["storage"])
        settings = settings.model_copy(update={"min_replicas": max(1, settings.min_replicas)})
        await asyncio.to_thread(serve.run_many, [_target(bot, store, entry["version"], settings)])

    async def _watch(self) -> None:
        """Serves new versions of bots, and new bots of fleets that are followed, as they are published."""
        watchers: dict[tuple[str, str], Watcher] = {}  # by storage and fleet
        while True:
            await asyncio.sleep(_WATCH_SECONDS)
            for fleet, record in list(self.fleets.items()):
                place = record["storage"], fleet
                if place not in watchers:
                    watchers[place] = Watcher(open_storage(fleet, record["storage"]))
                try:
                    if watchers[place].due():
                        await self._look(fleet, record, watchers[place])
                except Exception:  # the store is gone for a moment
                    logs.log(fleet=fleet).warning("new versions cannot be looked for", exc_info=True)

    async def _look(self, fleet: str, record: FleetRecord, watcher: Watcher) -> None:
        """Takes over what is newly published in a fleet's storage."""
        follow = record["follow"]
        chosen = follow["chosen"] if follow else []
        names = None if chosen is None else {*record["bots"], *chosen}
        found = await asyncio.to_thread(watcher.changes, names)
        new: dict[str, BotRecord] = {}
        for bot, version in found.items():
            if bot in record["bots"]:
                if record["bots"][bot]["version"] != version:
                    new[bot] = {**record["bots"][bot], "version": version}
            elif follow:
                one = BotRecord(version=version, settings=follow["settings"])
                if self.entries.keys().isdisjoint(saved_state.by_served_name(fleet, {bot: one})):
                    new[bot] = one  # another fleet has no bot of that name
        own = {bot: one for bot, one in new.items() if one["settings"]["endpoint"] == "dedicated"}
        if own and fleet in self.rolling:
            watcher.forget(own)
        elif own:
            self.rolling[fleet] = asyncio.create_task(self._roll(fleet, own, watcher))
        await self._add(fleet, {bot: one for bot, one in new.items() if bot not in own})
        await self._read_again(fleet, watcher.store)

    async def _add(self, fleet: str, bots: dict[str, BotRecord]) -> None:
        async with self.lock:
            latest = self.fleets.get(fleet)
            if latest and bots:
                bots = {bot: one for bot, one in bots.items() if bot in latest["bots"] or latest["follow"]}
                await self._change(fleet, {**latest, "bots": saved_state.with_versions(latest["bots"], bots)})

    async def _read_again(self, fleet: str, store: Store) -> None:
        """Reads the entries again of which some file could not be read."""
        served = saved_state.by_served_name(fleet, self.fleets[fleet]["bots"]) if fleet in self.fleets else {}
        bots = {bot: one for bot, one in served.items() if not self.entries[bot]["complete"]}
        for bot, entry in (await asyncio.to_thread(published.read_entries, store, bots)).items():
            if entry["complete"] and bot in self.entries and self.entries[bot]["version"] == entry["version"]:
                self._update([bot], **{name: value for name, value in entry.items() if name in _FROM_FILES})

    async def _roll(self, fleet: str, bots: dict[str, BotRecord], watcher: Watcher) -> None:
        """Changes dedicated bots to new versions. Running replicas load one beside the old; no request fails."""
        try:
            for start in range(0, len(bots), _BATCH):
                batch = dict(list(bots.items())[start : start + _BATCH])
                await self._roll_batch(fleet, batch, watcher)
        except Exception:
            logs.log(fleet=fleet).exception("new versions could not be served")
            watcher.forget(bots)
        finally:
            del self.rolling[fleet]

    async def _roll_batch(self, fleet: str, bots: dict[str, BotRecord], watcher: Watcher) -> None:
        bots = {bot: one for bot, one in bots.items() if self._is_dedicated(fleet, bot)}
        served = saved_state.by_served_name(fleet, bots)
        for name, one in served.items():
            self._update([name], newer=one["version"])
        targets = [
            _target(name, watcher.store, one["version"], Serve(**one["settings"])) for name, one in served.items()
        ]
        await asyncio.to_thread(serve.run_many, targets)
        async with self.lock:
            gone = [bot for bot in bots if not self._is_dedicated(fleet, bot)]  # removed or changed meanwhile
            latest = self.fleets.get(fleet)
            if latest:
                left = {bot: one for bot, one in bots.items() if bot not in gone}
                # a deploy in the meantime gave them other settings: they are rolled once more, with these
                other = [bot for bot, one in left.items() if latest["bots"][bot]["settings"] != one["settings"]]
                watcher.forget(other)
                left = {bot: one for bot, one in left.items() if bot not in other}
                await self._change(fleet, {**latest, "bots": latest["bots"] | left})
        for name in served:
            if short_name(name) in gone:
                await asyncio.to_thread(serve.delete, endpoint.app_name(name), _blocking=False)

    def _is_dedicated(self, fleet: str, bot: str) -> bool:
        record = self.fleets[fleet]["bots"].get(bot) if fleet in self.fleets else None
        return record is not None and record["settings"]["endpoint"] == "dedicated"


def _target(name: str, store: Store, version: str, settings: Serve) -> RunTarget:
    """What Serve is to run for a bot that has replicas of its own; `name` is the one under which it is served."""
    return RunTarget(endpoint.application(short_name(name), store, version, settings), endpoint.app_name(name), None)
