"""What the registry keeps in Ray's key-value store, and what it reads of bots in a fleet's storage.

keep("politicians", record); kept()                     # [("politicians", record)]
entries("politicians", "s3://…", record["bots"])        # {"nasa": what a gateway knows of it}
"""

import json
import secrets
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any

from pyarrow import fs
from ray.experimental import internal_kv

from pipeline.core.names import handles_of, is_bot_name
from pipeline.core.picture import profile_file
from pipeline.core.store import Store, resolve
from serve.http.public import display_names, public_metrics

_PREFIX = b"huggingtweets:fleet:"
_SIGNING_KEY = b"huggingtweets:signing-key"
_REPORT = "report.json"  # no bot's name
_PICTURES = 256  # that a gateway keeps, some 50 KB each
_READERS = 16  # threads that read the files of bots in an object store

# {"storage", "bots": {name: {"version", "settings"}}, "gateway": {"keys", "origins", "signing_key"},
#  "follow": None or {"settings", "chosen"}}
Record = dict[str, Any]
Entry = dict[str, Any]  # what a gateway knows of a bot


def published(store: Store, seen: dict[str, Any], chosen: list[str] | None) -> dict[str, str]:
    """The version in use of each bot that is new or has changed since `seen`, which is brought up to date.

    On a disk, replacing `current` changes the time of a bot's folder. In an object store folders have no times; there
    the report tells, which every command writes at its end.
    """
    told = {} if store.local else _reported(store, seen)
    selector = fs.FileSelector(store.path("bots"), allow_not_found=True)
    found: dict[str, str] = {}
    for info in store.filesystem.get_file_info(selector):
        bot = info.base_name
        if not is_bot_name(bot) or (chosen is not None and bot not in chosen):
            continue
        sign = info.mtime_ns if store.local else told.get(bot)
        if bot not in seen or seen[bot] != sign:
            version = store.current_version(bot)
            if version:
                seen[bot] = sign
                found[bot] = version
    return found


def _reported(store: Store, seen: dict[str, Any]) -> dict[str, Any]:
    """What the report says of each bot; `seen` keeps it under the file's name, to be read when it has changed.

    It is read once more at the next look: an object store's times are in seconds, and it may be written twice in one.
    """
    [info] = store.filesystem.get_file_info([store.path(_REPORT)])
    written, settled, told = seen.get(_REPORT, (None, True, {}))
    if info.mtime_ns != written or not settled:
        rows = store.read_json(_REPORT).get("bots", [])
        told = {row["bot"]: (row["version"], row["status"] in ("trained", "unchanged")) for row in rows}
        seen[_REPORT] = info.mtime_ns, info.mtime_ns == written, told
    return told


def storage(fleet: str, uri: str) -> Store:
    filesystem, root = resolve(uri)
    return Store(filesystem, f"{root}/{fleet}")


def signing_key() -> bytes:
    """The key of signatures for fleets whose stores hold none; it lives as long as the cluster."""
    internal_kv._internal_kv_put(_SIGNING_KEY, secrets.token_bytes(32), overwrite=False)
    return internal_kv._internal_kv_get(_SIGNING_KEY)


def kept() -> list[tuple[str, Record]]:
    """The fleets' records in Ray's key-value store."""
    keys = internal_kv._internal_kv_list(_PREFIX)
    values = [internal_kv._internal_kv_get(key) for key in keys]
    return [
        (key[len(_PREFIX) :].decode(), json.loads(zlib.decompress(value)))
        for key, value in zip(keys, values, strict=True)
    ]


def keep(fleet: str, record: Record) -> None:
    key = _PREFIX + fleet.encode()
    if record["bots"] or record["follow"]:
        internal_kv._internal_kv_put(key, zlib.compress(json.dumps(record).encode()))
    else:
        internal_kv._internal_kv_del(key)


def entries(fleet: str, uri: str, bots: dict[str, Record]) -> dict[str, Entry]:
    store = storage(fleet, uri)
    with ThreadPoolExecutor(1 if store.local else _READERS) as readers:
        entries = readers.map(lambda item: _entry(fleet, store, item[0], **item[1]), bots.items())
        return dict(zip(bots, entries, strict=True))


@lru_cache(_PICTURES)
def picture(fleet: str, uri: str, bot: str, version: str, handle: str) -> bytes | None:
    """A person's picture from a bot's folder, as PNG; None where it cannot be had."""
    try:
        return storage(fleet, uri).read(f"bots/{bot}/{version}/{profile_file(handle)}")
    except OSError:
        return None


def _entry(fleet: str, store: Store, bot: str, version: str, settings: dict[str, Any]) -> Entry:
    folder = f"bots/{bot}/{version}"
    stats, profiles = store.read_json(f"{folder}/stats.json"), store.read_json(f"{folder}/profiles.json")
    return {
        "fleet": fleet,
        "version": version,
        "handles": handles_of(bot),
        "names": display_names(profiles.get("names")),
        "pictures": profiles.get("pictures", []),
        "counts": stats.get("tweets", {}),
        "metrics": public_metrics(store.read_json(f"{folder}/metrics.json")),
        "ready": True,
        "endpoint": settings["endpoint"],
        "where": "dedicated" if settings["endpoint"] == "dedicated" else "pool",
        "since": int(time.time()),
    } | {name: settings[name] for name in ("deadline_seconds", "max_queued_requests", "max_replicas")}
