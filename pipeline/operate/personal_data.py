"""What a fleet's storage holds of one person outside their bots: prepared tweets, rows of reports, half-written files.

    names = {"nasa", "nasa_hq"}        # the person's handle and accounts
    removed = [item.name for item in remove_rows(store, "nasa", names)]        # ["report.json"]
    files_naming(store, names)                                                 # what is left

The functions that remove are generators: they remove as they are iterated over. `forget` calls all of them.
"""

import json
import re
from collections.abc import Iterator, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline import tweets
from pipeline.core.fleet import Fleet
from pipeline.core.json_file import json_bytes
from pipeline.core.names import handles_of
from pipeline.core.store import Store
from pipeline.operate.gc import drafts, unchanged_for
from pipeline.plan.forgotten import FORGOTTEN
from pipeline.prepare.index import INDEX, PICTURES, REJECTS
from pipeline.report import progress_record

# Entries of work/ that hold the data of single people. All others are made from everybody's tweets, and made again.
_PER_PERSON = ("people.json", "tweets", "pictures", "trained", "progress.json", "lease")
_READERS = 8
_DRAFT_SECONDS = 3600.0  # without a change, after which a draft has no writer any more


@dataclass(frozen=True)
class Item:
    """Something that was removed or, with a reason, something that is still there."""

    kind: str  # endpoint, repository, bot, version, tweets, rows, copies, source file …
    name: str
    reason: str | None = None


def remove_prepared(store: Store, handle: str, names: Set[str]) -> Iterator[Item]:
    """Removes the person's prepared tweets and index entry, and all that was learned from everybody's tweets."""
    for kind, path in (("tweets", f"work/tweets/{handle}.parquet"), ("picture", f"{PICTURES}/{handle}")):
        if store.exists(path):
            store.delete(path)
            yield Item(kind, path)
    index = store.read_json(INDEX)
    if handle in index.get("people", {}) or handle in index.get("owners", {}).values():
        index["people"].pop(handle, None)
        own_files = {file for file, owner in index["owners"].items() if owner == handle}
        for part in ("owners", "problems"):
            index[part] = {file: value for file, value in index[part].items() if file not in own_files}
        index["notices"] = [notice for notice in index.get("notices", []) if not _names(names, notice)]
        index["reasons"] = "" if _names(names, index.get("reasons", "")) else index.get("reasons", "")
        store.write(INDEX, json.dumps(index, ensure_ascii=False).encode())
        yield Item("index entry", INDEX)
    for name in store.list("work"):
        if name not in _PER_PERSON:
            store.delete(f"work/{name}")
            yield Item("learned from all", f"work/{name}")


def remove_drafts(store: Store, names: Set[str]) -> Iterator[Item]:
    """Removes half-written files of killed commands: those named after the person, and those that nobody writes now."""
    for path in drafts(store):
        if _names(names, path.replace("/", " ")) or unchanged_for(store, path, _DRAFT_SECONDS):
            store.delete(path)
            yield Item("draft", path)


def remove_rows(store: Store, handle: str, names: Set[str]) -> Iterator[Item]:
    """Removes the person's rows from the reports and lists of the fleet."""
    report = store.read_json("report.json")
    if _names(names, json.dumps(report)):
        kept = [row for row in report["bots"] if handle not in handles_of(row["bot"])]
        for row in kept:
            _remove_attributions(row["metrics"], handle)
        store.write("report.json", json_bytes(report | {"bots": kept}))
        store.delete("report.html")  # the next command writes it again
        yield Item("rows", "report.json")
    if _names(names, json.dumps(store.read_json(progress_record.FILE))):
        store.delete(progress_record.FILE)
        yield Item("rows", progress_record.FILE)
    if store.exists(REJECTS):
        lines = store.read(REJECTS).decode().splitlines(keepends=True)
        others = [line for line in lines if not _names(names, line)]
        if len(others) < len(lines):
            store.write(REJECTS, "".join(others).encode())
            yield Item("rows", REJECTS)


def remove_from_metrics(store: Store, handle: str) -> Iterator[Item]:
    """Removes the person from other bots' metrics, which name the people that a bot's samples were attributed to."""
    for bot in store.list("bots"):
        for version in store.versions(bot) if handle not in handles_of(bot) else ():
            name = f"bots/{bot}/{version}/metrics.json"
            metrics = store.read_json(name)
            if _remove_attributions(metrics, handle):
                store.write(name, json_bytes(metrics))
                yield Item("mention", name)


def _remove_attributions(metrics: dict[str, Any], handle: str) -> bool:
    """Removes the person from a bot's metrics, in place. Returns False if they do not name the person."""
    voice = metrics.get("voice") or {}
    others = [entry for entry in voice.get("attributed", []) if handle not in handles_of(entry[0])]
    if len(others) == len(voice.get("attributed", [])):
        return False
    voice["attributed"] = others
    return True


def files_naming(store: Store, names: Set[str]) -> list[str]:
    """Files of the whole fleet that still name the person."""
    files = [name for name in store.list("") if name.endswith((".json", ".jsonl", ".html")) and name != FORGOTTEN]
    return [file for file in files if _names(names, store.read(file).decode(errors="replace"))]


def source_files(fleet: Fleet, names: Set[str]) -> list[str]:
    """The files of tweets that have records of the person."""
    accounts = pa.array(sorted(names))

    def has_records(file: tweets.TweetFile) -> bool:
        column = (batch.records["handle"] for batch in tweets.read_batches(file))
        return any(pc.any(pc.is_in(handles, accounts)).as_py() for handles in column)

    files = [file for file in tweets.files_of(fleet) if file.problem is None]
    with ThreadPoolExecutor(_READERS) as pool:
        return [file.label for file, found in zip(files, pool.map(has_records, files), strict=True) if found]


def _names(names: Set[str], text: str) -> bool:
    return re.search(rf"(?<![a-z0-9_])(?:{'|'.join(names)})(?![a-z0-9_])", text.lower()) is not None
