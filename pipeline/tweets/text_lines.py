"""Reads the lines of a text file in UTF-8 or Windows-1252; byte_stream.py has already converted UTF-16 to UTF-8.

    lines = TextLines(stream)
    for line in lines: ...               # with its line end; an Overlong in place of a line over MAX_LINE

A byte that fits neither encoding becomes a lone surrogate. `is_decoded` detects it, so that only the record with it is
rejected.
"""

import io
from collections.abc import Iterator

MAX_LINE = 16 * 2**20  # bytes; a longer line is rejected
_BLOCK = 2**18  # bytes decoded at a time
_FOREIGN = 0.3  # share of non-ASCII bytes above which a text cannot be Windows-1252


class Overlong(str):
    """Replaces a line of over MAX_LINE bytes; the text of the line is dropped."""


class TextLines:
    """Iterates over the decoded lines of a stream, once."""

    def __init__(self, stream: io.BufferedReader):
        self._stream = stream
        self._utf8 = False  # whether a non-ASCII text was valid UTF-8
        self.escaped = False  # whether a line so far may contain lone surrogates

    def __iter__(self) -> Iterator[str]:
        rest = b""
        while block := self._stream.read(_BLOCK):
            block = rest + block
            # a carriage return at the end of the block may be the first half of \r\n
            cut = max(block.rfind(b"\n"), block.rfind(b"\r", 0, -1)) + 1
            whole, rest = block[:cut], block[cut:]
            if whole:
                yield from io.StringIO(self._decode(whole), newline="")
            if len(rest) > MAX_LINE:
                yield Overlong()
                rest = self._skip()
        if rest:
            yield from io.StringIO(self._decode(rest), newline="")

    def _skip(self) -> bytes:
        """Skips the rest of an overlong line; returns the bytes after it that have been read."""
        while block := self._stream.read(_BLOCK):
            _, end, after = block.partition(b"\n")
            if end:
                return after
        return b""

    def _decode(self, block: bytes) -> str:
        try:
            text = block.decode("utf-8")
            self._utf8 = self._utf8 or not text.isascii()
            return text
        except UnicodeDecodeError:
            text = block.decode("utf-8", "surrogateescape")
        high = sum(map(block.count, (bytes([byte]) for byte in range(0x80, 0x100))))
        if not (self._utf8 or high > _FOREIGN * len(block) or any(_is_utf8(char) for char in text)):
            text = block.decode("windows-1252", "surrogateescape")
        self.escaped = True
        return text


def _is_utf8(char: str) -> bool:
    return char > "\x7f" and not "\udc80" <= char <= "\udcff"


def is_decoded(value: str) -> bool:
    """Whether all bytes of the text could be decoded: it contains no lone surrogate."""
    return value.isascii() or not any("\udc80" <= char <= "\udcff" for char in value)
