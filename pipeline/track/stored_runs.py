"""The W&B runs in a fleet's store: writes those that are missing, and finds those that are not synced.

    stored = StoredRuns.of(fleet)
    stored.write_bot("nasa", "0123456789ab")       # writes those of the bot's runs that are missing
    unsynced(stored.store)                         # the folders that `sync` has still to send

A bot's runs are made from its published folder alone, so a crash loses nothing that the next command cannot write. A
run's folder appears whole in `{storage}/{fleet}/wandb/`; a file of W&B's own in it marks it as synced.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from pyarrow import fs

from pipeline.core.bot_files import Metrics, Stats
from pipeline.core.fleet import Fleet
from pipeline.core.names import handles_of
from pipeline.core.settings import Wandb
from pipeline.core.store import Store
from pipeline.plan import provenance
from pipeline.track import lineage, offline
from pipeline.track.lineage import Published, PublishedRow, Run, Source

FOLDER = "wandb"
_MARK = ".wandb.synced"
_PREFIX = "offline-run-20260101_000000-"  # as long as every prefix that W&B puts before a run's id


@dataclass
class StoredRuns:
    """The runs of a fleet that its store holds; writes each missing run once."""

    source: Source
    settings: Wandb
    written: set[str] = field(default_factory=set)  # ids of the runs that the store holds

    @classmethod
    def of(cls, fleet: Fleet) -> "StoredRuns":
        """Returns the stored runs of a fleet; lists its folder of runs once."""
        store = Store.of(fleet)
        source = Source(fleet.fleet, store, [entry.path for entry in fleet.tweets])
        return cls(source, fleet.wandb, {id_of(name) for name in runs(store)})

    @property
    def store(self) -> Store:
        """The fleet's store."""
        return self.source.store

    def has(self, bot: str, version: str) -> bool:
        """Whether all runs of this bot are written."""
        return lineage.train_id(bot, version) in self.written

    def has_fleet(self, rows: Sequence[PublishedRow]) -> bool:
        """Whether the fleet's run is written for these rows of report.json; true if no bot is published."""
        run = lineage.fleet_run(self.source, rows)
        return run.summary["bots"] == 0 or run.id in self.written

    def write_bot(self, bot: str, version: str) -> None:
        """Writes the missing runs of a published bot. Raises FileNotFoundError if its folder is gone."""
        made = read_published(self.store, bot, version)
        settings, counts = made.provenance["settings"], made.stats["tweets"]
        for handle, digest in made.provenance["tweets"].items():
            if lineage.preprocess_id(handle, digest) not in self.written:
                self._write(lineage.preprocess_run(self.source, handle, digest, settings["holdout"], counts[handle]))
        if not self.has(bot, version):  # last, so that `has` is true only when all of them are written
            self._write(lineage.train_run(self.source, made))

    def write_fleet(self, rows: Sequence[PublishedRow]) -> None:
        """Writes the fleet's run for these rows of report.json, unless it is written."""
        if not self.has_fleet(rows):
            self._write(lineage.fleet_run(self.source, rows))

    def _write(self, run: Run) -> None:
        with tempfile.TemporaryDirectory() as scratch:
            folder = offline.write(run, self.source.fleet, self.settings, Path(scratch))
            files = [path for path in folder.rglob("*") if path.is_file()]
            content = {str(path.relative_to(folder)): path.read_bytes() for path in files if path.suffix != ".log"}
            self.store.write_folder(f"{FOLDER}/{folder.name}", content)
        self.written.add(run.id)


def read_published(store: Store, bot: str, version: str) -> Published:
    """A published bot, from its JSON files. Raises FileNotFoundError if it has no provenance.json."""
    made = provenance.read(store, bot, version)
    if made is None:
        raise FileNotFoundError(f"bots/{bot}/{version} has no readable {provenance.FILE}")
    metrics, stats = (store.read_json(f"bots/{bot}/{version}/{name}.json") for name in ("metrics", "stats"))
    return Published(bot, version, made, cast(Metrics, metrics), cast(Stats, stats))


def runs(store: Store) -> list[str]:
    """The folders of all runs that are written."""
    return [name for name in store.list(FOLDER) if name.startswith("offline-run-") and id_of(name)]


def id_of(folder: str) -> str:
    """The id of the run in this folder."""
    return folder[len(_PREFIX) :]


def mark_of(folder: str) -> str:
    """The file in the store whose existence says that the run is synced; `wandb sync` creates it."""
    return f"{FOLDER}/{folder}/run-{id_of(folder)}{_MARK}"


def synced(store: Store) -> set[str]:
    """The folders of the runs that W&B has, found in one listing."""
    selector = fs.FileSelector(store.path(FOLDER), recursive=True, allow_not_found=True)
    marks = (info.path for info in store.filesystem.get_file_info(selector) if info.path.endswith(_MARK))
    return {path.split("/")[-2] for path in marks}


def unsynced(store: Store) -> list[str]:
    """The folders of the runs that W&B does not have yet."""
    sent = synced(store)
    return [name for name in runs(store) if name not in sent]


def runs_about(store: Store, handle: str, bots: list[str]) -> list[str]:
    """The folders of all runs that name a person who is in these bots; the fleet's runs name everybody."""
    names = {lineage.run_name(bot) for bot in bots}

    def names_person(run_id: str) -> bool:
        name, kind = lineage.subject(run_id)
        return kind == "fleet" or name in names or handle in handles_of(name)

    return [name for name in runs(store) if names_person(id_of(name))]
