"""What is published in a fleet's storage: new versions as they appear, and what a gateway shows of a bot.

    watcher = Watcher(open_storage("politicians", "s3://bucket/fleets"))
    watcher.changes(None)                                     # {"nasa": "0123456789ab"}, once

If the files of one bot cannot be read, those of the other bots still are.
"""

import json
import time
from collections.abc import Collection, Mapping
from functools import lru_cache
from typing import Any, TypedDict

from pyarrow import fs

from pipeline.core import logs, manifest
from pipeline.core.names import handles_of, is_bot_name, short_name
from pipeline.core.picture import profile_file
from pipeline.core.real_tweets import held_out_texts
from pipeline.core.store import Store, resolve
from serve.deployments.saved_state import BotRecord
from serve.http.public_facts import Fooled, display_names, public_metrics

_REPORT = "report.json"
_REMOTE_SECONDS = 30.0  # between looks at an object store
_PICTURES = 256  # that a gateway keeps, some 50 KB each
_PEOPLE, _REAL_TWEETS = 64, 500  # whose held-out tweets a gateway keeps, and how many of each
_FILES = ("stats.json", "profiles.json", "metrics.json")


class BotEntry(TypedDict):
    """What a gateway knows of a bot."""

    fleet: str
    version: str
    newer: str | None  # a published version that its replicas do not serve yet
    handles: list[str]
    names: dict[str, str]  # display names by handle
    pictures: list[str]  # handles with a profile picture
    counts: dict[str, Any]  # `tweets` of stats.json
    metrics: dict[str, Any]  # metrics.json
    ready: bool
    endpoint: str  # dedicated, pooled or auto, as the fleet file has it
    where: str  # dedicated or pool: where it is answered from now
    since: int  # when it was taken into the table, in seconds since 1970
    complete: bool  # False: some of its files could not be read
    contact: str | None  # where people report the bot
    search_engines: bool  # whether they may list its page
    fooled: Fooled | None  # the tally of the game; None if the fleet has none
    deadline_seconds: float
    max_queued_requests: int
    max_replicas: int


def open_storage(fleet: str, uri: str) -> Store:
    """The store of a fleet whose `storage` setting is `uri`."""
    filesystem, root = resolve(uri)
    return Store(filesystem, f"{root}/{fleet}")


class Watcher:
    """Finds the bots of a store whose published version has changed since the last look.

    On a disk, replacing `current` changes the time of a bot's folder. In an object store folders have no times; there
    the report says what changed, which every command writes at its end.
    """

    def __init__(self, store: Store):
        self.store = store
        self._seen: dict[str, Any] = {}  # by bot: the folder's time, or the report's row
        self._report: dict[str, tuple[str | None, bool]] = {}  # by bot: the version, and whether it is published
        self._report_time: int | None = None
        self._report_settled = True
        self._looked = -_REMOTE_SECONDS

    def due(self) -> bool:
        """Whether to look now; an object store is asked more rarely than a disk."""
        if not self.store.local and time.monotonic() - self._looked < _REMOTE_SECONDS:
            return False
        self._looked = time.monotonic()
        return True

    def changes(self, names: Collection[str] | None) -> dict[str, str]:
        """The current version of each of these bots (None: all) that is new or has changed; a bot is returned once."""
        if not self.store.local:
            self._read_report()
        selector = fs.FileSelector(self.store.path("bots"), allow_not_found=True)
        states: dict[str, Any] = {}  # of those that may have changed
        for info in self.store.filesystem.get_file_info(selector):
            bot = info.base_name
            if not is_bot_name(bot) or (names is not None and bot not in names):
                continue
            state = info.mtime_ns if self.store.local else self._report.get(bot)
            if bot not in self._seen or self._seen[bot] != state:
                states[bot] = state
        versions = zip(states, self.store.map(self._current, states), strict=True)
        found = {bot: version for bot, version in versions if version}
        self._seen |= {bot: states[bot] for bot in found}
        return found

    def forget(self, bots: Collection[str]) -> None:
        """Looks at these bots again next time."""
        for bot in bots:
            self._seen.pop(bot, None)

    def _current(self, bot: str) -> str | None:
        try:
            return self.store.current_version(bot)
        except OSError:
            logs.log(fleet=self.store.fleet, bot=bot).warning("its current version cannot be read", exc_info=True)
            return None

    def _read_report(self) -> None:
        """Reads the report if it has changed, and once more at the next look.

        An object store's times are in seconds, so it may have been written twice in one.
        """
        [info] = self.store.filesystem.get_file_info([self.store.path(_REPORT)])
        if info.mtime_ns == self._report_time and self._report_settled:
            return
        self._report_settled = info.mtime_ns == self._report_time
        self._report_time = info.mtime_ns
        report, _ = _read_object(self.store, _REPORT)
        rows = report.get("bots", [])
        self._report = {
            row["bot"]: (row.get("version"), row.get("status") in ("trained", "unchanged"))
            for row in (rows if isinstance(rows, list) else [])
            if isinstance(row, dict) and isinstance(row.get("bot"), str)
        }


def read_entries(store: Store, bots: dict[str, BotRecord]) -> dict[str, BotEntry]:
    """The entries of these bots, by the names under which they are served, from the files of the served versions."""
    versions = {short_name(name): one["version"] for name, one in bots.items()}
    known = manifest.known_files(store, versions, _FILES)
    entries = store.map(lambda bot: _entry(store, short_name(bot), bots[bot], known.get(short_name(bot), {})), bots)
    return dict(zip(bots, entries, strict=True))


@lru_cache(_PICTURES)
def picture(fleet: str, uri: str, bot: str, version: str, handle: str) -> bytes | None:
    """A person's picture from a bot's folder; None if there is none, it cannot be read, or it is no PNG.

    A link that stands in its place may lead to any file of the machine.
    """
    try:
        data = open_storage(fleet, uri).read(f"bots/{bot}/{version}/{profile_file(handle)}")
    except OSError:
        return None
    return data if data.startswith(b"\x89PNG\r\n\x1a\n") else None


@lru_cache(_PEOPLE)
def held_out(fleet: str, uri: str, handle: str, version: str) -> tuple[str, ...]:
    """A person's held-out tweets, to play with. `version` is the bot's: with a new one they are read again."""
    return tuple(held_out_texts(open_storage(fleet, uri), handle, _REAL_TWEETS))


def clear_caches() -> None:
    """Drops all pictures and tweets of people that this process has read."""
    picture.cache_clear()
    held_out.cache_clear()


def _entry(store: Store, bot: str, record: BotRecord, known: Mapping[str, Any]) -> BotEntry:
    """A bot's entry; `known` has the content of those of its files that need not be read."""
    folder, settings = f"bots/{bot}/{record['version']}", record["settings"]
    files = [(known[name], True) if name in known else _read_object(store, f"{folder}/{name}") for name in _FILES]
    (stats, profiles, metrics), complete = [one for one, _ in files], all(fine for _, fine in files)
    counts, pictures = stats.get("tweets", {}), profiles.get("pictures", [])
    return {
        "fleet": store.fleet,
        "version": record["version"],
        "newer": None,
        "handles": handles_of(bot),
        "names": display_names(profiles.get("names")),
        "pictures": pictures if isinstance(pictures, list) else [],
        "counts": counts if isinstance(counts, dict) else {},
        "metrics": public_metrics(metrics),
        "ready": True,
        "endpoint": settings["endpoint"],
        "where": "dedicated" if settings["endpoint"] == "dedicated" else "pool",
        "since": int(time.time()),
        "complete": complete,
        "contact": settings.get("contact"),
        "search_engines": settings.get("search_engines", False),
        "fooled": {"rounds": 0, "fooled": 0} if settings.get("game", False) else None,
        "deadline_seconds": settings["deadline_seconds"],
        "max_queued_requests": settings["max_queued_requests"],
        "max_replicas": settings["max_replicas"],
    }


def _read_object(store: Store, name: str) -> tuple[dict[str, Any], bool]:
    """The object in a JSON file ({} if there is no such file), and whether it could be read."""
    try:
        value = json.loads(store.read(name))
    except FileNotFoundError:
        return {}, True
    except (OSError, ValueError):
        value = None
    if isinstance(value, dict):
        return value, True
    logs.log(fleet=store.fleet).warning("%s cannot be read, or is not a JSON object", store.path(name))
    return {}, False
