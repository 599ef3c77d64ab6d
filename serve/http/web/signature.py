"""Signatures under what bots say, so that pictures and links exist only for words that a bot of ours wrote.

    signature = sign(key, "nasa", "My dream is", " to land on Mars")
    is_signed(key, "nasa", "My dream is", " to land on Mars", signature)

An HMAC over bot, prompt and answer, with a key of the fleet's that lives in its store, as long as its bots do. Without
one the gallery would put anybody's words under anybody's face.
"""

import base64
import hashlib
import hmac
import json
import secrets
from contextlib import suppress
from pathlib import Path

from pipeline.core.store import Store

FILE = "signing-key"  # in the store
_KEY_BYTES = 32
_BYTES = 16  # 128 bits: 22 characters of a link


def stored_key(store: Store) -> str | None:
    """The fleet's key in hex, made when it is first asked for; None where there is none and the store takes none."""
    with suppress(FileNotFoundError, ValueError):
        text = store.read(FILE).decode("ascii")
        if len(bytes.fromhex(text)) == _KEY_BYTES:
            return text
    with suppress(OSError):  # the cluster may be allowed to read only
        store.write(FILE, secrets.token_hex(_KEY_BYTES).encode())
        if store.local:
            Path(store.path(FILE)).chmod(0o600)
        return store.read(FILE).decode("ascii")
    return None


def sign(key: bytes, bot: str, prompt: str, said: str) -> str:
    message = json.dumps([bot, prompt, said]).encode()
    digest = hmac.digest(key, message, hashlib.sha256)[:_BYTES]
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def is_signed(key: bytes, bot: str, prompt: str, said: str, signature: str) -> bool:
    """Whether the signature is this one's; takes as long for a wrong one as for a right one."""
    return hmac.compare_digest(sign(key, bot, prompt, said).encode(), signature.encode("utf-8", "replace"))
