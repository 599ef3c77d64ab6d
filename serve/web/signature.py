"""Signatures under what bots say, so that pictures and links exist only for words that a bot of ours wrote.

    signature = sign(key, "nasa", "My dream is", " to land on Mars")
    is_signed(key, "nasa", "My dream is", " to land on Mars", signature)

An HMAC over bot, prompt and answer, with a key that the gateways share. Without one the gallery would put anybody's
words under anybody's face.
"""

import base64
import hashlib
import hmac
import json

_BYTES = 16  # 128 bits: 22 characters of a link


def sign(key: bytes, bot: str, prompt: str, said: str) -> str:
    message = json.dumps([bot, prompt, said]).encode()
    digest = hmac.digest(key, message, hashlib.sha256)[:_BYTES]
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def is_signed(key: bytes, bot: str, prompt: str, said: str, signature: str) -> bool:
    """Whether the signature is this one's; takes as long for a wrong one as for a right one."""
    return hmac.compare_digest(sign(key, bot, prompt, said).encode(), signature.encode("utf-8", "replace"))
