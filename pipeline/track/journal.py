"""The store as a journal: which runs W&B's folder holds, which are missing, which are synced; and writing them.

    journal = Journal(source, settings)
    journal.write_bot("nasa", "0123456789ab")       # the runs that are missing; their names in the store

A published bot's folder says all that its runs need, so nothing is kept in memory that a crash could lose.
A run's folder appears whole in `{storage}/{fleet}/wandb/`; W&B's own mark in it says that it is synced.
"""

import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pyarrow import fs

from pipeline.core.fleet import Fleet
from pipeline.core.names import handles_of
from pipeline.core.settings import Wandb
from pipeline.core.store import Store
from pipeline.plan import provenance
from pipeline.track import lineage, offline
from pipeline.track.lineage import Published, Run, Source

FOLDER = "wandb"
_MARK = ".wandb.synced"
_PREFIX = "offline-run-20260101_000000-"


@dataclass
class Journal:
    source: Source
    settings: Wandb
    written: set[str] = field(default_factory=set)  # ids of the runs that are there

    @classmethod
    def of(cls, fleet: Fleet) -> "Journal":
        store = Store.of(fleet)
        source = Source(fleet.fleet, store, [entry.path for entry in fleet.tweets])
        return cls(source, fleet.wandb, {id_of(name) for name in runs(store)})

    @property
    def store(self) -> Store:
        return self.source.store

    def has(self, bot: str, version: str) -> bool:
        return lineage.train_id(bot, version) in self.written

    def has_fleet(self, rows: list[dict[str, Any]]) -> bool:
        """Whether the fleet's run says what these rows say; also where nothing is published yet."""
        run = lineage.fleet_run(self.source, rows)
        return run.summary["bots"] == 0 or run.id in self.written

    def write_bot(self, bot: str, version: str) -> None:
        """Writes the runs of a published bot that are missing. Raises FileNotFoundError where its folder is gone."""
        made = read_published(self.store, bot, version)
        settings, counts = made.provenance["settings"], made.stats["tweets"]
        for handle, digest in made.provenance["tweets"].items():
            if lineage.preprocess_id(handle, digest) not in self.written:
                self._write(lineage.preprocess(self.source, handle, digest, settings["holdout"], counts[handle]))
        if not self.has(bot, version):  # last: where it is, the others are
            self._write(lineage.train(self.source, made))

    def write_fleet(self, rows: list[dict[str, Any]]) -> None:
        """Writes the fleet's run for these rows of the report, unless it is there."""
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
    names = (provenance.FILE, "metrics.json", "stats.json")
    made, *rest = (store.read_json(f"bots/{bot}/{version}/{name}") for name in names)
    if not made:
        raise FileNotFoundError(f"version {version} has no readable {provenance.FILE}")
    return Published(bot, version, made, *rest)


def runs(store: Store) -> list[str]:
    """The folders of the runs that are written."""
    return [name for name in store.list(FOLDER) if name.startswith("offline-run-") and id_of(name)]


def id_of(folder: str) -> str:
    return folder[len(_PREFIX) :]


def mark_of(folder: str) -> str:
    """The file in the store whose existence says that the run is synced; `wandb sync` makes it."""
    return f"{FOLDER}/{folder}/run-{id_of(folder)}{_MARK}"


def synced(store: Store) -> set[str]:
    """The folders of the runs that W&B has, by one look at them all."""
    selector = fs.FileSelector(store.path(FOLDER), recursive=True, allow_not_found=True)
    marks = (info.path for info in store.filesystem.get_file_info(selector) if info.path.endswith(_MARK))
    return {path.split("/")[-2] for path in marks}


def due(store: Store) -> list[str]:
    """The folders of the runs that are still to be sent."""
    sent = synced(store)
    return [name for name in runs(store) if name not in sent]


def about(store: Store, handle: str, bots: list[str]) -> list[str]:
    """The folders of all runs that tell of a person, who is in these bots; the fleet's runs list everybody."""
    names = {lineage.run_name(bot) for bot in bots}

    def tells(run_id: str) -> bool:
        bot, of = lineage.subject(run_id)
        return of == "fleet" or bot in names or handle in handles_of(bot)

    return [name for name in runs(store) if tells(id_of(name))]
