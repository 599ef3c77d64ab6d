"""Signatures of answers, so that a picture or a page shows only text that the bot generated.

    signature = sign(key, "nasa", "My dream is", " to land on Mars")
    is_signed(key, "nasa", "My dream is", " to land on Mars", signature)

A signature is an HMAC over bot, prompt and answer. Its key belongs to the fleet and is kept in the fleet's store.
Without signatures, anyone could have their own text shown on the page as if a bot had written it.
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
    """The fleet's key in hexadecimal, created on first use; None if there is none and the store is read-only."""
    with suppress(FileNotFoundError, ValueError):
        text = store.read(FILE).decode("ascii")
        if len(bytes.fromhex(text)) == _KEY_BYTES:
            return text
    with suppress(OSError):  # a store that the cluster may only read
        store.write(FILE, secrets.token_hex(_KEY_BYTES).encode())
        if store.local:
            Path(store.path(FILE)).chmod(0o600)
        return store.read(FILE).decode("ascii")
    return None


def sign(key: bytes, bot: str, prompt: str, answer: str) -> str:
    """The signature of a bot's answer to a prompt: 22 characters of base64url."""
    message = json.dumps([bot, prompt, answer]).encode()
    digest = hmac.digest(key, message, hashlib.sha256)[:_BYTES]
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def is_signed(key: bytes, bot: str, prompt: str, answer: str, signature: str) -> bool:
    """Whether the signature is valid for this answer; takes equally long for a wrong one."""
    return hmac.compare_digest(sign(key, bot, prompt, answer).encode(), signature.encode("utf-8", "replace"))
