"""Signatures of what bots write: anyone with a fleet's public keys can check which bot wrote a text, and when.

    keyring = Keyring((SigningKey.new(),))
    signature = keyring.sign("nasa", "0123456789ab", "My dream is", " to land on Mars")
    keyring.check("nasa", "to land on Mars", signature)      # Signed(bot="nasa", version="0123456789ab", at=…)

A signature is 96 bytes, written as 128 characters of base64url: a head of 32 bytes and an Ed25519 signature of head,
bot and answer. The head names the key, the time, the bot's version, and the prompt by a digest: a prompt is a
visitor's text, so nobody needs it to check what the bot wrote. docs/http.md describes the bytes.
"""

import base64
import hashlib
import re
import time
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NotRequired, TypedDict

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

_SIGNATURE = re.compile(r"[A-Za-z0-9_-]{128}")
_FORMAT = b"\x01"
_KEY_ID, _TIME, _PROMPT, _HEAD = 4, 5, 16, 32  # bytes; six bytes of the head are the version


@dataclass(frozen=True)
class Signed:
    """What a valid signature says: this bot wrote the text, in this version, at this time (seconds since 1970)."""

    bot: str
    version: str
    at: int


class KeyRecord(TypedDict):
    """A key as JSON, with its bytes in hexadecimal; without `private` it only checks old signatures."""

    created: int
    public: str
    private: NotRequired[str]


class Verdict(TypedDict):
    """The result of a check as JSON; the fields of a signature that is not valid are None."""

    valid: bool
    bot: str | None
    version: str | None
    at: str | None  # ISO 8601 in UTC


@dataclass(frozen=True)
class SigningKey:
    """An Ed25519 key of a fleet. `created` is in seconds since 1970; a retired key has no private part."""

    created: int
    public: bytes
    private: bytes | None = field(default=None, repr=False)

    @classmethod
    def new(cls) -> "SigningKey":
        """A new random key."""
        key = Ed25519PrivateKey.generate()
        return cls(int(time.time()), key.public_key().public_bytes_raw(), key.private_bytes_raw())

    @classmethod
    def of(cls, record: Any) -> "SigningKey":
        """The key of a record. Raises ValueError if it is not one, or if its two parts do not belong together."""
        try:
            created, public = int(record["created"]), bytes.fromhex(record["public"])
            private = bytes.fromhex(record["private"]) if "private" in record else None
        except (TypeError, KeyError):
            raise ValueError("not the record of a signing key") from None
        expected = Ed25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw() if private else public
        if len(public) != 32 or public != expected:
            raise ValueError("not an Ed25519 key")
        return cls(created, public, private)

    @property
    def record(self) -> KeyRecord:
        """The key as JSON, its private part included."""
        record: KeyRecord = {"created": self.created, "public": self.public.hex()}
        return record if self.private is None else {**record, "private": self.private.hex()}

    @property
    def id(self) -> str:
        """Eight hexadecimal digits that name the key."""
        return self._short.hex()

    @property
    def _short(self) -> bytes:
        return hashlib.sha256(self.public).digest()[:_KEY_ID]

    def retired(self) -> "SigningKey":
        """The same key without its private part."""
        return SigningKey(self.created, self.public)

    @property
    def jwk(self) -> dict[str, str]:
        """The public part as a JSON Web Key (RFC 8037), with the time when the key was made."""
        fixed = {"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig"}
        return fixed | {"kid": self.id, "x": _to_base64(self.public), "created": iso_time(self.created)}


@dataclass(frozen=True)
class Keyring:
    """The keys of a fleet. The newest one with a private part signs; the signatures of all can be checked."""

    keys: tuple[SigningKey, ...] = ()

    @classmethod
    def of_jwks(cls, jwks: Any) -> "Keyring":
        """Public keys from a list of JSON Web Keys; other kinds of keys are left out."""
        keys = []
        for jwk in jwks if isinstance(jwks, list) else []:
            if isinstance(jwk, dict) and jwk.get("crv") == "Ed25519" and isinstance(jwk.get("x"), str):
                public = _from_base64(jwk["x"])
                if len(public) == 32:
                    keys.append(SigningKey(0, public))
        return cls(tuple(keys))

    @property
    def jwks(self) -> list[dict[str, str]]:
        """The public keys as JSON Web Keys, the newest first."""
        return [key.jwk for key in sorted(self.keys, key=_age, reverse=True)]

    def sign(self, bot: str, version: str, prompt: str | None, answer: str, at: int | None = None) -> str:
        """The signature of a bot's answer: 128 characters, or "" if there is no text, no known version or no key.

        `answer` is what the bot wrote, without the prompt; `prompt` is None where it was not a text. `at` is in
        seconds since 1970, and now by default.
        """
        text, private = signed_text(answer), [key for key in self.keys if key.private]
        if not text.strip() or not version or not private:
            return ""
        key = max(private, key=_age)
        assert key.private
        head = _FORMAT + key._short + int(time.time() if at is None else at).to_bytes(_TIME, "big")
        head += bytes.fromhex(version) + _prompt_digest(prompt)
        signature = Ed25519PrivateKey.from_private_bytes(key.private).sign(_message(head, bot, text))
        return _to_base64(head + signature)

    def check(self, bot: str, answer: str, signature: str, prompt: str | None = None) -> Signed | None:
        """What the signature says of this answer, or None if it is not valid for it.

        With a prompt, it must be the one that the bot continued. Without one, white space before the answer does not
        matter: people copy texts without it.
        """
        text = signed_text(answer)
        if not text.strip() or not _SIGNATURE.fullmatch(signature):
            return None
        raw = _from_base64(signature)
        head, wanted = raw[:_HEAD], raw[_HEAD:]
        if head[:1] != _FORMAT or (prompt is not None and head[-_PROMPT:] != _prompt_digest(prompt)):
            return None
        texts = [text] if prompt is not None else [text.strip(), " " + text.strip()]
        for key in (key for key in self.keys if key._short == head[1 : 1 + _KEY_ID]):
            for one in texts:
                if _is_valid(key, wanted, _message(head, bot, one)):
                    rest = head[1 + _KEY_ID :]
                    return Signed(bot, rest[_TIME:-_PROMPT].hex(), int.from_bytes(rest[:_TIME], "big"))
        return None


def verdict(found: Signed | None) -> Verdict:
    """The result of a check as JSON."""
    if found is None:
        return {"valid": False, "bot": None, "version": None, "at": None}
    return {"valid": True, "bot": found.bot, "version": found.version, "at": iso_time(found.at)}


def merged(keyrings: Iterable[Keyring]) -> Keyring:
    """One keyring with the keys of all, each once."""
    return Keyring(tuple(dict.fromkeys(key for one in keyrings for key in one.keys)))


def signed_text(answer: str) -> str:
    """The form of an answer that is signed: composed characters (NFC), white space as single spaces, none at the end.

    Programs through which a text is copied change these; a space before the answer is kept, because it separates the
    answer from the prompt.
    """
    words = " ".join(unicodedata.normalize("NFC", answer).split())
    return " " * answer[:1].isspace() + words


def iso_time(seconds: int) -> str:
    """A time in seconds since 1970 as ISO 8601 in UTC, for instance 2026-11-30T12:00:00Z."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def _age(key: SigningKey) -> tuple[int, bytes]:
    return key.created, key.public


def _message(head: bytes, bot: str, text: str) -> bytes:
    """What is signed; neither a bot's name nor a signed text contains a line break."""
    return b"huggingtweets\n" + head + f"{bot}\n{text}".encode(errors="surrogatepass")


def _prompt_digest(prompt: str | None) -> bytes:
    """A prompt's digest in the head. Zeros, the digest of no text, stand for a prompt that was given as tokens."""
    if prompt is None:
        return bytes(_PROMPT)
    return hashlib.sha256(prompt.encode(errors="surrogatepass")).digest()[:_PROMPT]


def _is_valid(key: SigningKey, signature: bytes, message: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(key.public).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def _to_base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _from_base64(text: str) -> bytes:
    """The bytes of base64url without padding; b"" where it is not valid."""
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except ValueError:
        return b""
