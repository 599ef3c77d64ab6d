"""Keys in a fleet's store: one file each, named by the key's id, which on a disk only its owner may read.

    write_key(store, "watermark-keys", "0123abcd", {"created": 1796070000, "secret": "…"})
    keys = read_keys(store, "watermark-keys", WatermarkKey.of)

A key has a file of its own, so that two commands that make one at the same time lose none.
"""

import json
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from pipeline.core import logs
from pipeline.core.json_file import JsonObject, json_bytes
from pipeline.core.store import Store


class Key(Protocol):
    """A key of any kind."""

    @property
    def id(self) -> str:
        """The name of the key, which follows from its content."""


K = TypeVar("K", bound=Key)


def read_keys(store: Store, folder: str, parse: Callable[[Any], K]) -> list[K]:
    """The keys in a folder of the store, by id. A file that holds no key is left out, with a warning.

    `parse` makes a key of its JSON, and raises ValueError if it is not one.
    """
    keys = []
    for name in store.list(folder):
        try:
            key = parse(json.loads(store.read(f"{folder}/{name}")))
            if name != f"{key.id}.json":
                raise ValueError("its name is not that of the key")
            keys.append(key)
        except (ValueError, FileNotFoundError) as error:
            problem = "%s: no key, so what was made with it cannot be checked: %s"
            logs.log(fleet=store.fleet).warning(problem, store.path(f"{folder}/{name}"), error)
    return keys


def write_key(store: Store, folder: str, id: str, record: JsonObject) -> None:
    """Writes a key, or replaces it. Raises OSError if the store is read-only."""
    store.write(f"{folder}/{id}.json", json_bytes(record), secret=True)
