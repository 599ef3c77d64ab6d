"""The secrets of a fleet's watermarks (`serve.watermark`) in its store, under watermark-keys/ (key_files.py).

    secret = secret_in_use(store)       # the newest one's bytes, which mark texts; makes the first one
    renew(store)                        # a new one marks from now on; texts with the old ones are still found
    keys = load(store)                  # all of them, the newest first

Unlike the signing keys, an old secret is kept whole: it takes the secret to find its watermark.
"""

import hashlib
import secrets
import time
from dataclasses import dataclass, field
from typing import Any

from pipeline.core.errors import UserError
from pipeline.core.key_files import read_keys, write_key
from pipeline.core.store import Store

FOLDER = "watermark-keys"
_SECRET_BYTES = 32


@dataclass(frozen=True)
class WatermarkKey:
    """The secret of a watermark; `created` is in seconds since 1970."""

    created: int
    secret: bytes = field(repr=False)

    @classmethod
    def of(cls, record: Any) -> "WatermarkKey":
        """The key of its JSON, {"created", "secret" in hexadecimal}. Raises ValueError if it is not one."""
        try:
            key = cls(int(record["created"]), bytes.fromhex(record["secret"]))
        except (TypeError, KeyError):
            raise ValueError("not the record of a watermark key") from None
        if len(key.secret) != _SECRET_BYTES:
            raise ValueError("not a watermark key")
        return key

    @property
    def id(self) -> str:
        """Eight hexadecimal digits that name the key."""
        return hashlib.sha256(self.secret).hexdigest()[:8]


def load(store: Store) -> list[WatermarkKey]:
    """The fleet's keys, the newest first. A file that holds no key is left out, with a warning."""
    return sorted(read_keys(store, FOLDER, WatermarkKey.of), key=lambda key: (key.created, key.id), reverse=True)


def secret_in_use(store: Store) -> bytes:
    """The secret that marks texts now: the newest key's; makes the first one.

    Raises UserError if there is none and the store is read-only: texts would be without a watermark.
    """
    if not (keys := load(store)):
        try:
            renew(store)
        except OSError as error:
            raise UserError(f"serve.watermark: its secret cannot be stored: {error}") from None
        keys = load(store)
    return keys[0].secret


def renew(store: Store) -> None:
    """Makes a new key. Raises OSError if the store is read-only."""
    newest = max((key.created for key in load(store)), default=0)
    key = WatermarkKey(max(int(time.time()), newest + 1), secrets.token_bytes(_SECRET_BYTES))
    write_key(store, FOLDER, key.id, {"created": key.created, "secret": key.secret.hex()})
