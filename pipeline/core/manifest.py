"""An index of a fleet's published bots, for object stores, where asking for each of 100,000 bots takes an hour.

    published(store)                                     # {"nasa": "0123456789ab"}: the version in use of each bot
    unused_versions(store)                               # {"nasa": ["89abcdef0123"]}: the others in the bots' folders
    files(store, {"nasa": "0123456789ab"}, "metrics.json")     # {"nasa": {"held_out": {…}}}

The bots' own files are the truth, `bots/{bot}/current` above all; the manifest repeats it in a few Parquet files under
work/manifest/. These rules keep it from speaking for a version that is not in use:

- It is not used on disks, whose files are read in any case, nor where 256 bots or fewer are asked for.
- Before a command changes bots, it withdraws their rows (`Writer.withdraw`), and adds new ones once `current` is
  written. A bot without a row is read from its folder, with many requests at once: one that a killed command may have
  changed, all where the manifest is lost, and those that were copied into the store by hand.
- A row counts only while the bot's folder is there: one listing of bots/, a request for each 1,000 bots.
- Commands before the manifest existed left work/progress.json without `manifest`: after one of them, no row counts.
- At each reading, 256 rows drawn at random are compared with the files. If one differs, because files were changed by
  hand, no row counts. Where single files were changed by hand, delete work/manifest/.

Requests to S3 for 100,000 bots: 100 for the listing, 512 for the rows that are compared (pyarrow asks twice for a
file), a few for the manifest. Without it they are 200,000, and 200,000 for metrics.json.

A file of the manifest is named `{number}-{random}.parquet`; of a bot's rows the one with the highest number counts, and
a file that ends in `-all.parquet` replaces all before it. Only the command with the fleet's lease writes.
"""

import io
import json
import logging
import random
import threading
import time
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.core import cycle_collector
from pipeline.core.errors import one_line
from pipeline.core.json_file import JsonObject, parsed
from pipeline.core.names import is_bot_name
from pipeline.core.store import Store

FOLDER = "work/manifest"
FORM = 1  # in work/progress.json of commands that keep a manifest
FILES = ("metrics.json", "stats.json", "profiles.json")  # whose content it repeats
FEW = 256  # bots that are asked for one by one, and rows that are compared at each reading
_PROGRESS = "work/progress.json"
_ROWS, _SECONDS = 1000, 30.0  # that are collected before they are written
_MOST_FILES = 64  # until they are made one
_TRIES = 3  # to read files, which another command may be replacing
_SCHEMA = pa.schema(
    [("bot", pa.string()), ("version", pa.string()), ("older", pa.list_(pa.string()))]
    + [(name, pa.large_string()) for name in FILES]
)


@dataclass(frozen=True)
class Row:
    """What the manifest says of a bot."""

    bot: str
    version: str | None  # in use; None: it may be changing, ask the store
    older: Sequence[str] = ()  # other versions in its folder
    files: Mapping[str, Any] | None = None  # content by name, as far as it is known


def published(store: Store, bots: Collection[str] | None = None) -> dict[str, str]:
    """The version in use of each of these bots (None: all) that is published."""
    names, known = set(bots or ()), dict[str, str]()
    if bots is None or (not store.local and len(names) > FEW):
        names = _bots(store) if bots is None else names & _bots(store)
        known = {bot: version for bot, version in _versions(store).items() if bot in names}
    compared = random.sample(sorted(known), min(FEW, len(known)))
    if any(
        known[bot] != version for bot, version in zip(compared, store.map(store.current_version, compared), strict=True)
    ):
        known = {}
    others = sorted(names - known.keys())
    found = zip(others, store.map(store.current_version, others), strict=True)
    return known | {bot: version for bot, version in found if version}


def unused_versions(store: Store) -> dict[str, list[str]]:
    """The other versions in the folders of published bots, by bot. Read `current` again before you delete one."""
    in_use = published(store)
    known = {
        row["bot"]: row["older"] or []
        for row in _table(store, ["bot", "version", "older"]).to_pylist()
        if row["version"] is not None and in_use.get(row["bot"]) == row["version"]
    }
    others = sorted(in_use.keys() - known.keys())
    for bot, versions in zip(others, store.map(store.versions, others), strict=True):
        known[bot] = [version for version in versions if version != in_use[bot]]
    return {bot: known[bot] for bot in sorted(known) if known[bot]}


def files(store: Store, versions: Mapping[str, str], name: str) -> dict[str, dict[str, Any]]:
    """The object in this JSON file of each bot's version ({bot: version}); {} where there is no such file."""
    known = known_files(store, versions, [name])
    found = {bot: content[name] for bot, content in known.items() if name in content}
    others = [bot for bot in versions if bot not in found]
    read = store.map(lambda bot: store.read_json(f"bots/{bot}/{versions[bot]}/{name}"), others)
    return found | dict(zip(others, read, strict=True))


def known_files(store: Store, versions: Mapping[str, str], names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """What the manifest has of these files of these versions: their content by name, by bot. Of few bots it is {}."""
    if len(versions) <= FEW:
        return {}
    table = _table(store, ["bot", "version", *names])
    with cycle_collector.paused():
        return {
            bot: {name: parsed(text) for name, text in zip(names, texts, strict=True) if text is not None}
            for batch in table.to_batches(max_chunksize=_ROWS)  # not all texts once more, as Python's strings
            for bot, version, *texts in zip(*(column.to_pylist() for column in batch.columns), strict=True)
            if version is not None and versions.get(bot) == version
        }


class Writer:
    """Keeps the manifest while a command with the fleet's lease changes bots. On a disk it does nothing.

    A manifest that cannot be written stops nothing but `withdraw`: later commands ask the bots' folders.
    """

    def __init__(self, store: Store, check: Callable[[], None] = lambda: None):
        """`check` raises where the lease is lost; it is called before each write."""
        self.store, self.check, self._lock = store, check, threading.Lock()
        self._new: dict[str, Row] = {}
        self._written = time.monotonic()
        if store.local:
            return
        self._number = max((_number(name) for name in store.list(FOLDER)), default=0)
        table = _table(store, ["bot", "version", "older"])
        self._rows: dict[str, dict[str, Any]] = {row["bot"]: row for row in table.to_pylist()}

    @cached_property
    def _unknown(self) -> set[str]:
        """The bots without a row: their folders may hold any versions."""
        return _bots(self.store).difference(self._rows)

    def adopt(self, bots: Mapping[str, tuple[str, JsonObject]]) -> None:
        """Adds those of these published bots, {bot: (version, metrics)}, that have no row.

        Only bots in the version that is wanted: workers that a killed command left may still publish that of others.
        """
        if self.store.local:
            return
        new = [bot for bot in bots if self._rows.get(bot, {}).get("version") != bots[bot][0]]
        older = self.store.map(lambda bot: self._older(bot, bots[bot][0]), new)
        rows = [
            Row(bot, bots[bot][0], versions, {"metrics.json": bots[bot][1]})
            for bot, versions in zip(new, older, strict=True)
        ]
        with self._lock, _no_matter(self.store):
            self._write(rows)

    def withdraw(self, bots: Iterable[str]) -> None:
        """These bots are about to change: the manifest says nothing of them from now on."""
        if not self.store.local:
            with self._lock:
                self._write([Row(bot, None) for bot in bots])

    def add(self, bot: str, version: str, content: Mapping[str, Any]) -> None:
        """A bot has this version now, with these files. Call it after `current` is written; from any thread."""
        if self.store.local:
            return
        with self._lock, _no_matter(self.store):
            self._new[bot] = Row(bot, version, self._older(bot, version), content)
            if len(self._new) >= _ROWS or time.monotonic() - self._written > _SECONDS:
                self._flush()

    def close(self) -> None:
        """Writes what is collected, and makes one file of all if there are several."""
        if self.store.local:
            return
        with self._lock, _no_matter(self.store):
            self._flush()
            if len(self.store.list(FOLDER)) > 1:
                self._compact(_table(self.store, _SCHEMA.names))

    def removed(self, versions: Mapping[str, Collection[str]]) -> None:
        """These versions, by bot, which were not in use, are gone."""
        if self.store.local or not versions:
            return
        table = _table(self.store, _SCHEMA.names)
        older = [
            [one for one in row["older"] or () if one not in versions.get(row["bot"], ())]
            for row in table.select(["bot", "older"]).to_pylist()
        ]
        column = pa.array(older, _SCHEMA.field("older").type)
        with _no_matter(self.store):
            self._compact(table.set_column(table.schema.get_field_index("older"), "older", column))

    def _older(self, bot: str, version: str) -> list[str]:
        """The other versions in a bot's folder."""
        row = self._rows.get(bot)
        if bot in self._unknown or (row and row["version"] is None):
            return [one for one in self.store.versions(bot) if one != version]
        return sorted({*row["older"], row["version"]} - {version}) if row else []

    def _flush(self) -> None:
        self._written = time.monotonic()
        self._write(list(self._new.values()))
        self._new = {}
        if len(self.store.list(FOLDER)) > _MOST_FILES:
            self._compact(_table(self.store, _SCHEMA.names))

    def _compact(self, table: pa.Table) -> None:
        """Writes all rows that say something into one file, then deletes the others."""
        old = self.store.list(FOLDER)
        self._put(table.filter(pc.is_valid(table["version"])), "-all")
        self.store.map(lambda name: self.store.delete(f"{FOLDER}/{name}"), old)

    def _write(self, rows: Sequence[Row]) -> None:
        if not rows:
            return
        columns: dict[str, list[Any]] = {
            "bot": [row.bot for row in rows],
            "version": [row.version for row in rows],
            "older": [list(row.older) for row in rows],
        }
        for name in FILES:
            contents = ((row.files or {}).get(name) for row in rows)
            columns[name] = [None if one is None else json.dumps(one, ensure_ascii=False) for one in contents]
        self._put(pa.table(columns, _SCHEMA), "")

    def _put(self, table: pa.Table, ending: str) -> None:
        self.check()
        self._number += 1
        buffer = io.BytesIO()
        pq.write_table(table, buffer, compression="zstd")
        self.store.write(f"{FOLDER}/{self._number:08d}-{uuid.uuid4().hex[:8]}{ending}.parquet", buffer.getvalue())


def withdraw_if_outdated(store: Store) -> None:
    """Deletes the manifest if the last command on the bots did not keep it.

    Call it before a command writes its own work/progress.json.
    """
    if not store.local and not _was_kept(store):
        store.delete(FOLDER)


@contextmanager
def _no_matter(store: Store) -> Iterator[None]:
    """Logs that the store could not be written."""
    try:
        yield
    except OSError as error:
        logging.getLogger(__name__).warning("%s is not up to date: %s", store.path(FOLDER), one_line(error))


def _bots(store: Store) -> set[str]:
    """The bots that have a folder."""
    return {name for name in store.list("bots") if is_bot_name(name)}


def _versions(store: Store) -> dict[str, str]:
    table = _table(store, ["bot", "version"])
    pairs = zip(table["bot"].to_pylist(), table["version"].to_pylist(), strict=True)
    return {bot: version for bot, version in pairs if version is not None}


def _was_kept(store: Store) -> bool:
    """Whether the last command that worked on the bots kept the manifest."""
    progress = store.read_json(_PROGRESS)
    return not progress or progress.get("manifest") == FORM


def _table(store: Store, columns: Sequence[str]) -> pa.Table:
    """These columns of the rows that count, one for each bot; `bot` is the first.

    There are none without a manifest, or where a file of it is damaged.
    """
    schema = pa.schema([_SCHEMA.field(column) for column in columns])
    if store.local or not _was_kept(store):
        return schema.empty_table()
    for _ in range(_TRIES):
        names = store.list(FOLDER)
        first = max((i for i, name in enumerate(names) if name.endswith("-all.parquet")), default=0)
        try:
            parts = store.map(lambda name: store.read(f"{FOLDER}/{name}"), names[first:])
        except FileNotFoundError:  # they have just been made one
            continue
        try:
            tables = [pq.read_table(pa.BufferReader(part), columns=list(columns)).select(columns) for part in parts]
        except (pa.ArrowException, OSError, KeyError):
            break
        return _merged(tables) if tables else schema.empty_table()
    return schema.empty_table()


def _merged(tables: list[pa.Table]) -> pa.Table:
    """One row for each bot: that of the last table that has one."""
    merged = tables[-1]
    for table in reversed(tables[:-1]):
        seen = pc.is_in(table["bot"], value_set=merged["bot"].combine_chunks())
        merged = pa.concat_tables([table.filter(pc.invert(seen)), merged])
    return merged


def _number(name: str) -> int:
    return int(name.partition("-")[0])
