"""Opens a file as a stream of bytes: decompresses gzip, zstd, bzip2 and xz, and converts UTF-16 to UTF-8.

    with open_tweets(file) as stream: ...        # an io.BufferedReader

The first bytes show the format. A file that unpacks to far more than text does is taken for a zip bomb and refused.
"""

import bz2
import codecs
import gzip
import io
import lzma
from collections.abc import Callable
from typing import Any, cast

import pyarrow

from pipeline.tweets.files import TweetFile
from pipeline.tweets.record import NOT_TWEETS

MAX_UNPACKED = 256 * 2**20  # bytes that any compressed file may unpack to …
MAX_RATIO = 100  # … larger ones at most this many times their size; JSON of tweets compresses 5 to 30 times
BUFFER = 2**18  # bytes
_GZIP, _ZSTD, _BZIP2, _XZ = b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"BZh", b"\xfd7zXZ\x00"
_FOREIGN = {  # first bytes of files in other formats: what the file is, and what to do with it
    b"SQLite format 3\0": "an SQLite database; export its table: sqlite3 -csv -header FILE 'select * from T' > T.csv",
    b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1": "an old Excel or Office file; save its sheet as CSV UTF-8 and name that file",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive; unpack it and name the folder",
    b"Rar!\x1a\x07": "a RAR archive; unpack it and name the folder",
    b"%PDF-": f"{NOT_TWEETS}: a PDF",
    b"ARROW1\0": "an Arrow or Feather file; save the table as Parquet or CSV",
    b"\x89HDF\r\n": "an HDF5 file; save the table as Parquet or CSV",
    b"Obj\x01": "an Avro file; save the table as Parquet or CSV",
    b"\x80\x04\x95": "a Python pickle, which is never opened since it can run code; save the data as JSON or CSV",
}
_BAD_UTF16 = "\udc81"  # becomes the byte 0x81, which is invalid in UTF-8 and in Windows-1252, so the record is rejected


def open_tweets(file: TweetFile) -> io.BufferedReader:
    """Opens a file. Raises OSError if it cannot be read; reading raises ValueError if it unpacks to too much."""
    raw = io.BufferedReader(file.filesystem.open_input_file(file.path), BUFFER)
    magic = raw.peek(8)[:8]
    if magic.startswith(_GZIP):
        raw = limited(gzip.GzipFile(fileobj=raw).read1, file.size)
    elif magic.startswith(_ZSTD):
        raw = limited(pyarrow.CompressedInputStream(raw, "zstd").read, file.size)
    elif magic.startswith(_BZIP2):
        raw = limited(bz2.BZ2File(raw).read1, file.size)
    elif magic.startswith(_XZ):
        raw = limited(lzma.LZMAFile(raw).read1, file.size)  # noqa: SIM115
    encoding = _utf16(raw.peek(4)[:4])
    return _stream(_Transcoder(raw, encoding).read) if encoding else raw


def foreign_format(head: bytes) -> str | None:
    """Returns what a file in an unsupported format is, and what to do with it; None for any other file."""
    return next((what for magic, what in _FOREIGN.items() if head.startswith(magic)), None)


def limited(read: Callable[[int], bytes], packed: int) -> io.BufferedReader:
    """Returns a stream of what `read` unpacks from `packed` bytes; reading raises ValueError beyond the limits."""
    limit = max(MAX_UNPACKED, MAX_RATIO * packed)
    done = 0

    def bounded(size: int) -> bytes:
        nonlocal done
        data = read(size)
        done += len(data)
        if done > limit:
            raise ValueError(f"it unpacks to over {limit // 2**20} MiB from {packed:,} bytes: a zip bomb?")
        return data

    return _stream(bounded)


def _utf16(head: bytes) -> str | None:
    """Returns the variant of UTF-16, by the byte order mark or the zero bytes of ASCII letters; None for others."""
    if head.startswith(codecs.BOM_UTF16_LE):
        return "utf-16-le"
    if head.startswith(codecs.BOM_UTF16_BE):
        return "utf-16-be"
    even, odd = head[0:4:2], head[1:4:2]
    if len(odd) == 2 and not any(odd) and all(even):
        return "utf-16-le"
    if len(odd) == 2 and not any(even) and all(odd):
        return "utf-16-be"
    return None


class _Transcoder:
    """Converts a stream of UTF-16 to UTF-8."""

    def __init__(self, stream: io.BufferedReader, encoding: str):
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder(encoding)(errors=_MARK)

    def read(self, size: int) -> bytes:
        while data := self._stream.read(size):
            if text := self._decoder.decode(data):
                return text.encode("utf-8", "surrogateescape")
        return self._decoder.decode(b"", final=True).encode("utf-8", "surrogateescape")


def _mark(error: UnicodeError) -> tuple[str, int]:
    return _BAD_UTF16, cast(UnicodeDecodeError, error).end


_MARK = "huggingtweets.mark"
codecs.register_error(_MARK, _mark)


def _stream(read: Callable[[int], bytes]) -> io.BufferedReader:
    return io.BufferedReader(_Raw(read), BUFFER)


class _Raw(io.RawIOBase):
    """Wraps a function that reads as the raw stream that io.BufferedReader needs."""

    def __init__(self, read: Callable[[int], bytes]):
        self._read, self._rest = read, memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._rest:
            self._rest = memoryview(self._read(len(buffer)))
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count
