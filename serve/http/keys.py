"""Who may ask: the keys, where they come from, and how often each may be used.

    HUGGINGTWEETS_KEYS=secret1,secret2 huggingtweets deploy fleet.yaml        # or serve.keys_file: keys.txt
    curl -H "Authorization: Bearer secret1" 127.0.0.1:8000/bots

Only digests leave the command that deploys: a key itself is in no configuration, log or table.
"""

import hashlib
import hmac
import os
import time
from pathlib import Path

from pipeline.core.errors import UsageError
from pipeline.core.settings import Serve

ENVIRONMENT = "HUGGINGTWEETS_KEYS"
_SHORTEST = 16


def load(settings: Serve) -> list[str]:
    """The keys of the file (one a line, # begins a remark) and of the environment (with commas between).

    Raises UsageError where the file cannot be read, or a key is too short to be one.
    """
    lines: list[str] = []
    if settings.keys_file:
        try:
            lines = Path(settings.keys_file).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"serve.keys_file: {settings.keys_file} cannot be read: {error}") from None
        if not any(_key(line) for line in lines):
            raise UsageError(f"serve.keys_file: {settings.keys_file} holds no key")
    found = [_key(line) for line in lines] + [part.strip() for part in os.environ.get(ENVIRONMENT, "").split(",")]
    keys = list(dict.fromkeys(key for key in found if key))
    for key in keys:
        if len(key) < _SHORTEST or not key.isascii() or not key.isprintable() or " " in key:
            raise UsageError(f"a key has at least {_SHORTEST} characters, letters and digits for instance, no spaces")
    return keys


def _key(line: str) -> str:
    return line.partition("#")[0].strip()


def digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def bearer(settings: Serve) -> dict[str, str]:
    """The header with which a command of ours asks the gateway; empty where no keys are set."""
    keys = load(settings)
    return {"Authorization": f"Bearer {keys[0]}"} if keys else {}


def given(authorization: str) -> str | None:
    """The key in an Authorization header."""
    scheme, _, value = authorization.partition(" ")
    return value.strip() if scheme.lower() == "bearer" else None


def known(key: str, digests: list[str]) -> str | None:
    """The digest of a key that is one of these; takes as long for a wrong key as for a right one."""
    asked, found = digest(key), None
    for one in digests:
        if hmac.compare_digest(asked, one):
            found = one
    return found


class Bucket:
    """A rate limit: `per_minute` requests, that many at once, refilled as time goes on."""

    def __init__(self, per_minute: float):
        self.per_minute, self.left, self.at = per_minute, per_minute, time.monotonic()

    def wait(self, per_minute: float, now: float | None = None) -> float:
        """Takes one request out; the seconds to wait until there is one, 0 where it was taken."""
        now = time.monotonic() if now is None else now
        self.left = min(per_minute, self.left + (now - self.at) * per_minute / 60)
        self.at, self.per_minute = now, per_minute
        if self.left < 1:
            return (1 - self.left) * 60 / per_minute
        self.left -= 1
        return 0.0
