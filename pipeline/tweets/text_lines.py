"""The lines of a text file, whatever its encoding: UTF-8 or Windows-1252 (UTF-16 is UTF-8 by then, see opening.py).

    lines = TextLines(stream)
    for line in lines: ...               # with its line end; an Overlong where there was too much of it

A byte that is neither encoding's comes as a lone surrogate, for `is_decoded` to find: it costs its record alone.
"""

import io
from collections.abc import Iterator

MAX_LINE = 16 * 2**20  # bytes; a longer line is no tweet
_BLOCK = 2**18  # bytes decoded at a time
_FOREIGN = 0.3  # share of bytes beyond ASCII above which a text is in no Western language


class Overlong(str):
    """Stands for a line of over MAX_LINE bytes, which is not kept."""


class TextLines:
    def __init__(self, stream: io.BufferedReader):
        self._stream = stream
        self._utf8 = False  # whether some text beyond ASCII was UTF-8
        self.escaped = False  # whether a line so far may hold bytes of no known encoding

    def __iter__(self) -> Iterator[str]:
        rest = b""
        while block := self._stream.read(_BLOCK):
            block = rest + block
            # a carriage return that is last may be half of a line end
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
        """Reads to the end of an overlong line; what follows it in the last block read."""
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
    """Whether the text holds only what could be decoded."""
    return value.isascii() or not any("\udc80" <= char <= "\udcff" for char in value)
