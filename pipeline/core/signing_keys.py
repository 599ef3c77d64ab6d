"""A fleet's signing keys in its store: one file each under signing-keys/, which on a disk only its owner may read.

    keyring = load_or_create(store)     # the keys of signatures (signing.py); makes the first one
    keyring = renew(store)              # a new key signs from now on; the others still check

A key has a file of its own, so that two commands that make one at the same time lose none.
"""

import json
from contextlib import suppress

from pipeline.core import logs
from pipeline.core.json_file import json_bytes
from pipeline.core.signing import Keyring, SigningKey
from pipeline.core.store import Store

FOLDER = "signing-keys"


def load(store: Store) -> Keyring:
    """The fleet's keys. A file that holds no key is left out, with a warning."""
    keys = []
    for name in store.list(FOLDER):
        try:
            key = SigningKey.of(json.loads(store.read(f"{FOLDER}/{name}")))
            if name != f"{key.id}.json":
                raise ValueError("its name is not that of the key")
            keys.append(key)
        except (ValueError, FileNotFoundError) as error:
            problem = "%s: no signing key, so its signatures cannot be checked: %s"
            logs.log(fleet=store.fleet).warning(problem, store.path(f"{FOLDER}/{name}"), error)
    return Keyring(tuple(keys))


def load_or_create(store: Store) -> Keyring:
    """The fleet's keys, with a new one if none can sign. Without keys if there are none and the store is read-only."""
    keyring = load(store)
    if not any(key.private for key in keyring.keys):
        with suppress(OSError):
            _write(store, SigningKey.new())
            return load(store)
    return keyring


def renew(store: Store) -> Keyring:
    """Makes a new key and deletes the private parts of the old ones. Raises OSError if the store is read-only."""
    old = load(store).keys
    _write(store, SigningKey.new())
    for key in old:
        if key.private:
            _write(store, key.retired())
    return load(store)


def _write(store: Store, key: SigningKey) -> None:
    store.write(f"{FOLDER}/{key.id}.json", json_bytes(dict(key.record)), secret=True)
