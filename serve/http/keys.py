"""API keys: where they come from, how a request presents one, and how often each may be used.

    HUGGINGTWEETS_KEYS=secret1,secret2 huggingtweets deploy fleet.yaml        # or serve.keys_file: keys.txt
    curl -H "Authorization: Bearer secret1" 127.0.0.1:8000/bots

Only digests leave the `deploy` command: no configuration, log or table contains a key itself.
"""

import hashlib
import hmac
import os
import re
import time
from pathlib import Path

from pipeline.core.errors import UsageError
from pipeline.core.settings import Serve

ENVIRONMENT = "HUGGINGTWEETS_KEYS"
SESSION_SECONDS = 30 * 86400  # after which a browser asks for the key again
_SHORTEST = 16


def load(settings: Serve) -> list[str]:
    """The keys from the file (one a line, # begins a comment) and from the environment (separated by commas).

    Raises UsageError if the file cannot be read or has no key, or if a key is too short or has odd characters.
    """
    lines: list[str] = []
    if settings.keys_file:
        try:
            lines = Path(settings.keys_file).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"serve.keys_file: {settings.keys_file} cannot be read: {error}") from None
        if not any(_key(line) for line in lines):
            raise UsageError(f"serve.keys_file: {settings.keys_file} contains no key")
    found = [_key(line) for line in lines] + [part.strip() for part in os.environ.get(ENVIRONMENT, "").split(",")]
    keys = list(dict.fromkeys(key for key in found if key))
    for key in keys:
        if len(key) < _SHORTEST or not key.isascii() or not key.isprintable() or " " in key:
            raise UsageError(f"a key must have at least {_SHORTEST} printable ASCII characters and no spaces")
    return keys


def _key(line: str) -> str:
    return line.partition("#")[0].strip()


def digest(key: str) -> str:
    """The SHA-256 of a key in hexadecimal, which is all that the gateway has of it."""
    return hashlib.sha256(key.encode()).hexdigest()


def bearer(settings: Serve) -> dict[str, str]:
    """The headers with which our own commands call the gateway; empty if no keys are set."""
    keys = load(settings)
    return {"Authorization": f"Bearer {keys[0]}"} if keys else {}


def given(authorization: str) -> str | None:
    """The key in the value of an Authorization header, or None."""
    scheme, _, value = authorization.partition(" ")
    return value.strip() if scheme.lower() == "bearer" else None


def known(key: str, digests: list[str]) -> str | None:
    """The key's digest if it is one of these, else None; takes equally long in both cases."""
    wanted, found = digest(key), None
    for one in digests:
        if hmac.compare_digest(wanted, one):
            found = one
    return found


def session(key: str, now: float | None = None) -> str:
    """The value of a browser's cookie after its user has entered the key; it expires, and ends when the key is removed.

    It is an HMAC with the key's digest, and reveals neither the key nor the digest. `now` is in Unix seconds.
    """
    expires = int(time.time() if now is None else now) + SESSION_SECONDS
    return f"{expires}.{_session_mac(digest(key), str(expires))}"


def signed_in(session: str, digests: list[str], now: float | None = None) -> str | None:
    """The digest of the key with which this session was begun, if it is one of these and has not expired."""
    expires, _, mac = session.partition(".")
    if not re.fullmatch(r"[0-9]{1,12}", expires) or int(expires) <= (time.time() if now is None else now):
        return None
    found = None
    for one in digests:
        if hmac.compare_digest(mac.encode("utf-8", "replace"), _session_mac(one, expires).encode()):
            found = one
    return found


def _session_mac(digest: str, expires: str) -> str:
    return hmac.digest(bytes.fromhex(digest), f"session {expires}".encode(), hashlib.sha256).hex()


class Bucket:
    """A rate limit: `per_minute` requests in a minute, which may all come at once."""

    def __init__(self, per_minute: float):
        self.per_minute, self.left, self.at = per_minute, per_minute, time.monotonic()

    def wait(self, per_minute: float, now: float | None = None) -> float:
        """Counts a request if the rate allows it and returns 0, else returns the seconds to wait.

        `per_minute` is the rate in force now. `now` is in time.monotonic() seconds.
        """
        now = time.monotonic() if now is None else now
        self.left = min(per_minute, self.left + (now - self.at) * per_minute / 60)
        self.at, self.per_minute = now, per_minute
        if self.left < 1:
            return (1 - self.left) * 60 / per_minute
        self.left -= 1
        return 0.0

    def charge(self, requests: float) -> None:
        """Counts this many more requests, for work that is already done, so that later ones wait longer."""
        self.left -= requests
