"""Reads JSON values from a stream that may not fit into memory: items of an array, or a sequence of documents.

    for line, value in values(stream): ...         # a Reject in place of a broken value

A broken value is skipped up to its closing bracket, so that the values after it are still read.
"""

import codecs
import io
import json
import re
from collections.abc import Iterator
from typing import Any

from pipeline.tweets.record import Reject

MAX_VALUE = 16 * 2**20  # characters of an item of an array; a longer one is no tweet
MAX_DOCUMENT = 128 * 2**20  # characters of a document, such as a page of tweets; it is read whole
_CHUNK = 2**20  # bytes read at a time
_SPACE = re.compile(r"[\s,\ufeff]*")
_TOKEN = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[{}\[\]"]', re.DOTALL)


def values(stream: io.BufferedReader, start: str = "") -> Iterator[tuple[int, Any]]:
    """Yields (line, value) for each item of the array in the stream, or for each document if it holds no array.

    `start` is a pattern for text before the array, such as the assignment in a script.
    """
    window = _Window(stream)
    if start and (before := re.match(start, window.text)):
        window.at = before.end()
    window.skip()
    array = window.text.startswith("[", window.at)
    if array:
        window.at += 1
        window.longest = MAX_VALUE
    elif start:
        yield window.line(), Reject(window.line(), "no list of posts in it")
        return
    while window.skip():
        if array and window.text[window.at] == "]":
            yield from _rest(window)
            return
        line = window.line()
        value = window.value()
        if value is _Window.LOST:
            yield line, Reject(line, f"broken JSON, nothing readable from here on: {window.problem}")
            return
        yield line, Reject(line, window.problem) if value is _Window.BROKEN else value
    if array:
        yield window.line(), Reject(window.line(), "the list of posts breaks off")


def _rest(window: "_Window") -> Iterator[tuple[int, Reject]]:
    """Yields a Reject if anything follows the end of the array."""
    line = window.line()
    window.at += 1
    while window.skip():
        if window.text[window.at] != ";":
            yield line, Reject(line, "the list of posts ends here; what follows it is not read")
            return
        window.at += 1


class _Window:
    """The part of the stream that is in memory: `text`, of which the first `at` characters are parsed."""

    BROKEN, LOST = object(), object()

    def __init__(self, stream: io.BufferedReader):
        self.text, self.at, self.problem = "", 0, ""
        self.longest = MAX_DOCUMENT  # characters of a value
        self._stream, self._ended = stream, False
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="surrogateescape")
        self._parse = json.JSONDecoder().raw_decode
        self._line, self._counted = 1, 0
        self.more()

    def line(self) -> int:
        """The number of the line at position `at`."""
        self._line += self.text.count("\n", self._counted, self.at)
        self._counted = self.at
        return self._line

    def more(self) -> bool:
        """Reads more of the stream and drops the parsed text; returns False at the end of the stream."""
        if self._ended:
            return False
        self.line()
        rest = self.text[self.at :]
        data = self._stream.read(max(_CHUNK, len(rest)))  # doubling keeps the total cost of repeated parsing linear
        self._ended = not data
        self.text = rest + self._decoder.decode(data, final=self._ended)
        self.at = self._counted = 0
        return True

    def skip(self) -> bool:
        """Moves `at` to the next character that is neither white space nor a comma; returns False if there is none."""
        while True:
            self.at = _SPACE.match(self.text, self.at).end()  # type: ignore[union-attr]
            if self.at < len(self.text):
                return True
            if not self.more():
                return False

    def value(self) -> Any:
        """Returns the value at `at` and moves `at` behind it; sets `problem` and returns BROKEN or LOST on an error."""
        while True:
            try:
                value, end = self._parse(self.text, self.at)
                whole = end < len(self.text) or type(value) is dict
                problem = "" if self._is_utf8(self.at, end) else "not UTF-8"
                problem = self._too_long() if end - self.at > self.longest else problem
            except (ValueError, RecursionError) as error:
                problem = f"broken JSON: {error}"
                end, whole = self._closing()
            if whole:
                self.at, self.problem = end, problem
                return self.BROKEN if problem else value
            if len(self.text) - self.at > self.longest:
                problem = self._too_long()
            elif self.more():
                continue
            elif not problem:  # a number or literal at the end of the file
                self.at = end
                return value
            self.problem = problem.removeprefix("broken JSON: ")
            return self.LOST

    def _too_long(self) -> str:
        return f"an item of over {self.longest // 2**20} MiB"

    def _is_utf8(self, start: int, end: int) -> bool:
        try:
            self.text[start:end].encode()
            return True
        except UnicodeEncodeError:
            return False

    def _closing(self) -> tuple[int, bool]:
        """Returns the position after the bracket that closes the one at `at`, and whether it was found."""
        depth = 0
        if self.text[self.at] in "{[":
            for token in _TOKEN.finditer(self.text, self.at):
                kind = token[0]
                if kind == '"':
                    break  # an unterminated string
                depth += (kind in "{[") - (kind in "}]")
                if depth == 0:
                    return token.end(), True
        return self.at, False
