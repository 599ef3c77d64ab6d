"""Tokens and text: a model folder's tokenizer, and the text of one answer as it grows.

vocabulary = Vocabulary.of(folder)
text = Text(vocabulary, prompt_ids, stops=("\\n",))
piece, stopped = text.add(token)    # the part of the text that is certain now
"""

import functools
import hashlib
import re
from pathlib import Path

from tokenizers import Tokenizer
from tokenizers.decoders import DecodeStream

from pipeline.core.model_folder import SEPARATOR, load_tokenizer, separator_id, tokenizer_json


class Vocabulary:
    """The tokenizer of a model folder.

    `separator` is the token between tweets. `ends` are all tokens that end a text: the separator and every other
    special token (such as the `<|im_end|>` of a chat model), none of which is text of a tweet.
    """

    def __init__(self, folder: Path, tokenizer: str):
        self.tokenizer = Tokenizer.from_str(tokenizer)
        self.tokenizer.no_truncation()
        self.tokenizer.no_padding()
        known = self.tokenizer.token_to_id(SEPARATOR)
        self.separator: int = separator_id(load_tokenizer(folder)) if known is None else known
        added = self.tokenizer.get_added_tokens_decoder()
        self.ends = frozenset({self.separator} | {token for token, one in added.items() if one.special})
        self.tokenizer.encode_special_tokens = True  # a prompt that spells a special token stays text

    @staticmethod
    def of(folder: Path) -> "Vocabulary":
        """The folder's vocabulary; folders with the same tokenizer share one. Raises UserError."""
        text = tokenizer_json(folder)
        digest = hashlib.sha256(text.encode()).hexdigest()
        if digest not in _shared:
            _shared[digest] = Vocabulary(folder, text)
        return _shared[digest]

    def encode(self, text: str) -> list[int]:
        """The tokens of a text, without special ones."""
        return self.tokenizer.encode(text, add_special_tokens=False).ids

    def decode(self, ids: list[int]) -> str:
        """The text of tokens; a part of a character becomes the replacement character."""
        return self.tokenizer.decode(ids, skip_special_tokens=False)

    @functools.lru_cache(maxsize=100_000)  # noqa: B019  (a vocabulary lives as long as its process)
    def name(self, token: int) -> str:
        """One token as text; a part of a character by its bytes, as OpenAI writes them: `bytes:\\xf0\\x9f`."""
        text = self.decode([token])
        if text and _INCOMPLETE not in text:
            return text
        stored = self.tokenizer.id_to_token(token)
        if not stored:  # the weights may have more tokens than the tokenizer
            return f"token_id:{token}"
        bytes_of_token = _stored_bytes(stored)
        if bytes_of_token is None:
            return stored
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in bytes_of_token)


_INCOMPLETE = "\ufffd"  # the replacement character: how a part of a character is decoded
_BYTE_TOKEN = re.compile("<0x([0-9A-F]{2})>")  # how tokenizers made by SentencePiece store a byte


def _stored_bytes(stored: str) -> bytes | None:
    """The bytes of a token as its tokenizer stores it, or None if it is stored in neither of the usual ways."""
    if found := _BYTE_TOKEN.fullmatch(stored):
        return bytes.fromhex(found[1])
    if all(char in _BYTES for char in stored):
        return bytes(_BYTES[char] for char in stored)
    return None


def _byte_characters() -> dict[str, int]:
    """The character that byte-level tokenizers store for each byte: printable ones are their own (GPT-2's table)."""
    own = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(0x100) if byte not in own]
    return {chr(byte): byte for byte in own} | {chr(0x100 + at): byte for at, byte in enumerate(others)}


_BYTES = _byte_characters()
_shared: dict[str, Vocabulary] = {}


class Text:
    """The text of one answer, token by token, cut before the first stop string.

    What `add` and `end` return, joined, is the text: the tokens decoded as a whole, up to the stop. A character that is
    incomplete where the text ends is left out.
    """

    def __init__(self, vocabulary: Vocabulary, prompt: list[int], stops: tuple[str, ...]):
        self.vocabulary, self.stops = vocabulary, stops
        # The prompt is decoded along with the answer, since some tokenizers drop the space before the first word of a
        # text. A prompt that ends in a replacement character is left out: the stream would wait for the rest of it.
        before = vocabulary.decode(prompt)
        self._ids = [] if before.endswith(_INCOMPLETE) else list(prompt)
        self._before = len(before) if self._ids else 0
        self._stream = DecodeStream(ids=list(self._ids), skip_special_tokens=False)
        self._decoded = 0  # characters that came out of the stream
        self._held = ""  # those at the end that may be the beginning of a stop string; not returned yet

    def add(self, token: int) -> tuple[str, bool]:
        """The text that is certain with this token, and whether a stop string ended it."""
        self._ids.append(token)
        new = self._stream.step(self.vocabulary.tokenizer, token)
        if new is None:  # within a character
            return "", False
        self._decoded += len(new)
        return self._cut(new)

    def end(self) -> str:
        """The text that was held back, because a stop string might have begun there."""
        new = self.vocabulary.decode(self._ids)[self._before + self._decoded :].rstrip(_INCOMPLETE)
        certain, stopped = self._cut(new)
        return certain if stopped else certain + self._held

    def _cut(self, new: str) -> tuple[str, bool]:
        text = self._held + new
        found = [at for at in (text.find(stop) for stop in self.stops) if at >= 0]
        if found:
            return text[: min(found)].rstrip(_INCOMPLETE), True
        longest = max((_overlap(text, stop) for stop in self.stops), default=0)
        certain = len(text) - longest
        self._held = text[certain:]
        return text[:certain], False


def _overlap(text: str, stop: str) -> int:
    """The length of the longest end of `text` with which `stop` begins."""
    for length in range(min(len(text), len(stop) - 1), 0, -1):
        if text.endswith(stop[:length]):
            return length
    return 0
