"""Removes a person from a fleet: tweets, bots, blends, endpoints, copies on nodes, hub repositories, offline W&B runs.

    forgotten = forget(fleet, "nasa")
    forgotten.removed, forgotten.left        # what is gone; what is still there, where, and why

`forgotten.json` in the store keeps the handle and those of the person's accounts: later runs ignore the person's
records and skip blends with them, until `readmit`. Files of tweets belong to the user: they are named, not changed.
Bots of others whose base had learned from the person (`adapt`) are listed; `forget_and_retrain` makes them again.
"""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import ray
from pyarrow import fs

from pipeline.base import adapt
from pipeline.core.errors import UserError, one_line
from pipeline.core.fleet import Fleet
from pipeline.core.json_file import json_bytes
from pipeline.core.lease import held
from pipeline.core.model_folder import WEIGHTS
from pipeline.core.names import handles_of, short_name
from pipeline.core.progress import Progress
from pipeline.core.ray_session import join, session
from pipeline.core.store import Store, resolve
from pipeline.operate import personal_data
from pipeline.operate.learned_bots import LearnedVersion, hub_copies, learned_versions
from pipeline.operate.node_copies import remove_copies
from pipeline.operate.personal_data import Item
from pipeline.operate.status import served
from pipeline.plan.forgotten import FORGOTTEN, entries
from pipeline.prepare.index import INDEX
from pipeline.publish import hub
from pipeline.report.rows import Report
from pipeline.run import STEPS, run
from pipeline.track import lineage, stored_runs

_ROLL_SECONDS = 120.0  # until endpoints serve the new versions of bots that were made again
# what another `forget` can still remove, or `--retrain`
_UNFINISHED = ("endpoint", "repository", "bot", "version", "copies")


@dataclass(frozen=True)
class Forgotten:
    """What one call of `forget` did: the person's bots, what it removed, and what is left with the reason."""

    handle: str
    bots: list[str]
    removed: list[Item]
    left: list[Item]

    @property
    def complete(self) -> bool:
        """False if something is left that another call removes, with `--retrain` where the reason says so."""
        return not any(item.kind in _UNFINISHED for item in self.left)


def forget(fleet: Fleet, handle: str, wait: bool = False, say: Callable[[str], None] = lambda line: None) -> Forgotten:
    """Removes everything about this person. A second call tries again what the first could not remove.

    `handle` may also be one of the person's accounts in `people`. Raises UserError if another command works on the
    fleet and `wait` is false; `say` reports that it waits.
    """
    store = Store.of(fleet)
    with held(store, "forget", wait, say):
        return _forget(store, fleet, fleet.owners.get(handle, handle))


def plan_to_forget(fleet: Fleet, handle: str) -> Forgotten:
    """What `forget` would remove and leave; changes nothing."""
    store = Store.of(fleet)
    untouched = _UntouchedStore(store.filesystem, store.root)
    return _forget(untouched, fleet, fleet.owners.get(handle, handle), dry_run=True)


def forget_and_retrain(fleet: Fleet, handle: str, progress: Progress, wait: bool = False) -> tuple[Forgotten, Report]:
    """Forgets the person, runs the fleet, and deletes the versions of others whose base had learned from the person.

    Returns what was removed and what is left, and the run's report. Raises UserError as `forget` and `run` do.
    """
    first = forget(fleet, handle, wait, progress.say)
    with session():
        report = run(fleet, STEPS, progress, wait=wait)
    old = {item.name for item in first.left if item.kind == "bot"}
    deadline = time.monotonic() + _ROLL_SECONDS
    while any(f"{bot} {version}" in old for bot, version in served(fleet).items()) and time.monotonic() < deadline:
        time.sleep(1)  # endpoints take over new versions by themselves
    second = forget(fleet, handle, wait, progress.say)
    return Forgotten(first.handle, first.bots, first.removed + second.removed, second.left), report


def readmit(fleet: Fleet, handle: str, wait: bool = False, say: Callable[[str], None] = lambda line: None) -> bool:
    """Lets a person in again whom `forget` removed: the next run reads their tweets. False if nobody removed them.

    Raises UserError as `forget` does.
    """
    store = Store.of(fleet)
    with held(store, "readmit", wait, say):
        return _readmit(store, fleet.owners.get(handle, handle))


def _forget(store: Store, fleet: Fleet, handle: str, dry_run: bool = False) -> Forgotten:
    known = entries(store)
    entry = {"at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "wandb": []} | known.get(handle, {})
    bots = _bots(store, handle)
    runs = stored_runs.runs_about(store, handle, bots)
    entry["wandb"] = sorted({*entry["wandb"], *_synced(fleet, store, runs)})
    accounts = (account for account, person in fleet.owners.items() if person == handle)
    entry["accounts"] = sorted({*entry.get("accounts", []), *accounts} - {handle})
    names = {handle, *entry["accounts"]}
    entry["bases"] = sorted({*entry.get("bases", []), *adapt.bases_with(store, handle)})
    store.write(FORGOTTEN, json_bytes(known | {handle: entry}))  # first, so that a new run ignores the person
    bases = {base for one in (*known.values(), entry) for base in one.get("bases", [])}
    items = [item for bot in bots for item in _repositories(store, bot, dry_run)]
    items += [*_models(store, bots), *_bots_on_bases(fleet, store, bases)]
    items += _in_cluster(fleet, store, handle, dry_run)  # after the models: a pool serves whatever is published
    items += _runs(store, runs)
    items += personal_data.remove_prepared(store, handle, names)
    items += personal_data.remove_drafts(store, names)
    items += personal_data.remove_rows(store, handle, names)
    items += personal_data.remove_from_metrics(store, handle)
    items += [Item("W&B", name, "was synced; delete it there") for name in entry["wandb"]]
    items += [Item("base model", path, reason) for path, reason in _bases_outside(fleet)]
    for name in personal_data.source_files(fleet, names):
        items.append(Item("source file", name, "is yours; it still has the person's tweets"))
    if not dry_run:
        items += [Item("file", name, "still names the person") for name in personal_data.files_naming(store, names)]
    removed, left = ([item for item in items if (item.reason is None) == gone] for gone in (True, False))
    return Forgotten(handle, bots, removed, left)


def _readmit(store: Store, handle: str) -> bool:
    known = entries(store)
    if handle not in known:
        return False
    index = store.read_json(INDEX)
    if index:
        store.write(INDEX, json.dumps(index | {"fingerprint": ""}, ensure_ascii=False).encode())  # prepare anew
    bases = known.pop(handle).get("bases", [])
    if known and bases:  # what others had in common with this person is still to be made again
        other = next(iter(known))
        known[other] = known[other] | {"bases": sorted({*known[other].get("bases", []), *bases})}
    store.write(FORGOTTEN, json_bytes(known))
    return True


class _UntouchedStore(Store):
    """A store that is only read: what would be written or deleted stays as it is."""

    def write(self, name: str, data: bytes, secret: bool = False) -> None:
        """Does nothing."""

    def delete(self, name: str) -> None:
        """Does nothing."""


def _in_cluster(fleet: Fleet, store: Store, handle: str, dry_run: bool) -> Iterator[Item]:
    """The endpoints, and the copies on nodes; without a cluster the copies on this machine."""
    try:
        with session():
            join()
            yield from _endpoints(fleet, handle, dry_run)
            yield from _copies(store, handle, dry_run)
            return
    except UserError as error:
        yield Item("endpoint", "of this fleet", f"the cluster does not answer: {one_line(error)}")
    yield from _copies(store, handle, dry_run)


def _bots(store: Store, handle: str) -> list[str]:
    """The person's bot and all blends with them, published or only trained."""
    return sorted(bot for bot in {*store.list("bots"), *store.list("work/trained")} if handle in handles_of(bot))


def _endpoints(fleet: Fleet, handle: str, dry_run: bool) -> Iterator[Item]:
    if ray.is_initialized():
        from serve.deploy import served as table_of_served
        from serve.deploy import undeploy

        table = table_of_served()
        own = [short_name(name) for name, row in table.items() if row["fleet"] == fleet.fleet]
        bots = [bot for bot in own if handle in handles_of(bot)]
        if bots:
            yield from (Item("endpoint", bot) for bot in (bots if dry_run else undeploy(fleet.fleet, bots)))


def _copies(store: Store, handle: str, dry_run: bool) -> Iterator[Item]:
    removed, problems = remove_copies(store, handle, dry_run)
    yield from (Item("copies", name) for name in removed)
    yield from (Item("copies", f"on node {node}", problem) for node, problem in problems.items())
    if not store.local and not ray.is_initialized():
        yield Item("copies elsewhere", "on nodes' disks", "no cluster runs; `forget` again where one does")


def _repositories(store: Store, bot: str, dry_run: bool) -> Iterator[Item]:
    if dry_run:
        yield from (Item("repository", name) for name in hub.repositories(store, bot))
        return
    for name, problem in hub.remove(store, bot):
        yield Item("repository", name, problem and f"not deleted: {problem}; `forget` again tries again")


def _runs(store: Store, folders: list[str]) -> Iterator[Item]:
    """W&B's offline runs about the person, and the fleet's runs, which list all bots and are written again."""
    for folder in folders:
        store.delete(f"{stored_runs.FOLDER}/{folder}")
        yield Item("W&B offline run", stored_runs.id_of(folder))


def _synced(fleet: Fleet, store: Store, folders: list[str]) -> list[str]:
    """The runs that were sent to W&B, as far as this store knows, and the artifacts that they created."""
    ids = [stored_runs.id_of(folder) for folder in stored_runs.synced(store).intersection(folders)]
    return [name for id in ids for name in lineage.pages(fleet.wandb, id)]


def _models(store: Store, bots: list[str]) -> Iterator[Item]:
    for bot in bots:
        remaining = hub.repositories(store, bot)  # the record of repositories that could not be deleted stays
        for name in store.list(f"bots/{bot}"):
            if not (remaining and name == hub.RECORD):
                store.delete(f"bots/{bot}/{name}")
        if not remaining:
            store.delete(f"bots/{bot}")
        store.delete(f"work/trained/{bot}")
        yield Item("bot", bot)


def _bots_on_bases(fleet: Fleet, store: Store, bases: set[str]) -> Iterator[Item]:
    """Other people's bots on these bases: older versions are deleted, and those in use are listed."""
    if not bases:
        return
    copies = list(hub_copies(store, bases))
    in_service = served(fleet)
    for one in learned_versions(store, bases):
        name = f"{one.bot} {one.version}"
        if one.current:
            reason = "its base had learned from people who were removed; `forget --retrain` makes it again"
            yield Item("bot", name, reason)
        elif in_service.get(one.bot) == one.version:
            yield Item("version", name, "is still served; `deploy`, then `forget` again")
        else:
            store.delete(one.folder)
            yield Item("version", name)
            yield from _runs_of_version(fleet, store, one)
    for repository, version in copies:
        reason = f"holds version {version}, which had learned from people who were removed; delete it and push again"
        yield Item("hub copy", repository, reason)


def _runs_of_version(fleet: Fleet, store: Store, version: LearnedVersion) -> Iterator[Item]:
    """The W&B runs of one version, which show what it wrote."""
    folders = [name for name in stored_runs.runs(store) if stored_runs.id_of(name) == version.run_id]
    yield from (Item("W&B", name, "was synced; delete it there") for name in _synced(fleet, store, folders))
    yield from _runs(store, folders)


def _bases_outside(fleet: Fleet) -> Iterator[tuple[str, str]]:
    """The folder of `pretrain`, which may have learned from the fleet's tweets."""
    filesystem, path = resolve(fleet.pretrain.out)
    if filesystem.get_file_info(f"{path}/{WEIGHTS}").type != fs.FileType.NotFound:
        yield fleet.pretrain.out, "may have learned from the person; `pretrain` again, then `run` every fleet on it"
