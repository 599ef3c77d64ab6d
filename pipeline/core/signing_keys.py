"""A fleet's signing keys in its store, under signing-keys/ (key_files.py).

keyring = load_or_create(store)     # the keys of signatures (signing.py); makes the first one
keyring = renew(store)              # a new key signs from now on; the others still check
"""

from contextlib import suppress

from pipeline.core.key_files import read_keys, write_key
from pipeline.core.signing import Keyring, SigningKey
from pipeline.core.store import Store

FOLDER = "signing-keys"


def load(store: Store) -> Keyring:
    """The fleet's keys. A file that holds no key is left out, with a warning."""
    return Keyring(tuple(read_keys(store, FOLDER, SigningKey.of)))


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
    write_key(store, FOLDER, key.id, key.record)
