"""Whether a bot wrote a text: what `huggingtweets verify` checks, with public keys from a file and without a server.

claim = Claim.of("nasa", "to land on Mars", signature)         # or claim_in(Path("card.png"))
claim.check(keyring_in(Path("huggingtweets-keys.json")))       # Signed(bot="nasa", …), or None
"""

import json
from dataclasses import dataclass
from pathlib import Path

from pipeline.core import fleet as fleets
from pipeline.core import signing_keys
from pipeline.core.errors import UsageError
from pipeline.core.names import not_a_bot_name, typed_served_name
from pipeline.core.picture_marks import marks_of
from pipeline.core.signing import Keyring, Signed
from pipeline.core.store import Store
from pipeline.publish.card import signing_keys_of


@dataclass(frozen=True)
class Claim:
    """That a bot wrote this text, and, where `prompt` is not None, that it continued this prompt."""

    bot: str
    text: str
    signature: str
    prompt: str | None = None

    @classmethod
    def of(cls, bot: str | None, text: str | None, signature: str | None, prompt: str | None = None) -> "Claim":
        """The claim that a user typed. Raises UsageError where a part is missing, or `bot` is not a bot's name."""
        if bot is None or text is None or signature is None:
            raise UsageError("BOT, TEXT and SIGNATURE are needed, or --picture")
        if (name := typed_served_name(bot)) is None:
            raise UsageError(not_a_bot_name(bot))
        return cls(name, text, signature.strip(), prompt)

    def check(self, keyring: Keyring) -> Signed | None:
        """What the signature says of the text; None if none of the keys made it for this text of this bot."""
        return keyring.check(self.bot, self.text, self.signature, self.prompt)


def claim_in(picture: Path) -> Claim:
    """The answer in a picture's metadata. Raises UsageError if there is none."""
    try:
        marks = marks_of(picture.read_bytes())
    except OSError as error:
        raise UsageError(f"--picture: {picture} cannot be read: {error.strerror}") from None
    if not marks:
        raise UsageError(f"--picture: {picture} has no answer in its metadata; pictures that are copied may lose it")
    return Claim.of(marks.get("bot"), marks.get("said"), marks.get("signature"), marks.get("prompt"))


def keyring_in(path: Path) -> Keyring:
    """The public keys of a fleet (its file), or in a model card or a huggingtweets-keys.json.

    Raises UsageError if there are none.
    """
    if path.suffix in (".yaml", ".yml"):
        keyring = signing_keys.load(Store.of(fleets.load(path)))
    else:
        keyring = Keyring.of_jwks(_jwks(path))
    if not keyring.keys:
        raise UsageError(f"{path}: has no signing keys")
    return keyring


def _jwks(path: Path) -> object:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: cannot be read: {error}") from None
    if not text.startswith("{"):
        return signing_keys_of(text)
    try:
        return json.loads(text).get("keys")
    except ValueError:
        raise UsageError(f"{path}: is not JSON") from None
