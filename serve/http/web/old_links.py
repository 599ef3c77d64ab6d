"""Links to answers that were shared before answers had public signatures (pipeline/core/signing.py): they stay valid.

    is_signed(stored_key(store), "nasa", "My dream is", " to land on Mars", signature)

Their signature, of 22 characters, is an HMAC over bot, prompt and answer, with a key that only the server has.
"""

import base64
import hashlib
import hmac
import json
from contextlib import suppress

from pipeline.core.store import Store

FILE = "signing-key"  # in the store of a fleet that was served then
_KEY_BYTES = 32
_BYTES = 16  # of the HMAC


def stored_key(store: Store) -> str | None:
    """The fleet's key in hexadecimal, or None if it has none."""
    with suppress(FileNotFoundError, ValueError):
        text = store.read(FILE).decode("ascii")
        if len(bytes.fromhex(text)) == _KEY_BYTES:
            return text
    return None


def is_signed(key: bytes | None, bot: str, prompt: str, answer: str, signature: str) -> bool:
    """Whether an old signature is valid for this answer; takes equally long for a wrong one."""
    if key is None:
        return False
    digest = hmac.digest(key, json.dumps([bot, prompt, answer]).encode(), hashlib.sha256)[:_BYTES]
    expected = base64.urlsafe_b64encode(digest).rstrip(b"=")
    return hmac.compare_digest(expected, signature.encode("utf-8", "replace"))
