"""The fleet file's `tweets` entries as files: paths, folders, globs and URIs, with whose tweets they hold.

    find([TweetSource(path="data/*.csv")])   # [TweetFile(...), ...]

A file without a user column belongs to its stem; an X account export to the account its account.js
names, else to the nearest folder whose name is a handle.
"""

import fnmatch
import gzip
import io
import json
import re
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import cast

import pyarrow
from pyarrow import fs

from pipeline.errors import UserError, one_line
from pipeline.names import handle_of
from pipeline.settings import TweetSource
from pipeline.store import resolve

_EXPORT_PART = re.compile(r"tweets?(-part\d+)?\.js")
_GLOB = re.compile(r"[*?\[]")
_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
_SUFFIXES = re.compile(r"(\.(csv|tsv|jsonl?|js|ndjson|txt|gz|zst))+$", re.IGNORECASE)


@dataclass(frozen=True)
class TweetFile:
    """One file of tweets. `handle`: whose it is where a record does not say; `problem`: why it is unusable.

    `columns`, `users` and `repair` are the fleet file's (settings.TweetSource); `named` where it gives the handle.
    """

    path: str
    handle: str | None = None
    size: int = 0  # bytes
    mtime: float = 0.0  # seconds since the epoch
    filesystem: fs.FileSystem = field(default_factory=fs.LocalFileSystem)
    problem: str | None = None
    named: bool = False
    columns: dict[str, str | None] = field(default_factory=dict)
    users: str | None = None
    repair: bool = False


def find(sources: list[TweetSource]) -> list[TweetFile]:
    """The files behind the sources, each once, in a fixed order; a source without files is one with a problem."""
    found: dict[str, TweetFile] = {}
    for source in sources:
        for file in _files(source):
            found.setdefault(file.path, file)
    return sorted(found.values(), key=lambda file: file.path)


def open_tweets(file: TweetFile) -> io.BufferedReader:
    """The file's bytes as a buffered stream, decompressed where the content says gzip or zstd."""
    raw = io.BufferedReader(file.filesystem.open_input_file(file.path))
    magic = raw.peek(4)[:4]
    if magic.startswith(_GZIP):
        return io.BufferedReader(cast(io.RawIOBase, gzip.GzipFile(fileobj=raw)))
    if magic == _ZSTD:
        return io.BufferedReader(pyarrow.CompressedInputStream(raw, "zstd"))
    return raw


def _files(source: TweetSource) -> list[TweetFile]:
    try:
        filesystem, path = resolve(source.path)
        infos = [filesystem.get_file_info(path)]
        problem = "no such file"
        # a name that is there as it is written, brackets and all, is no pattern
        if infos[0].type == fs.FileType.NotFound and _GLOB.search(path):
            infos = _glob(filesystem, path)
            problem = "no file matches"
        folders = [info for info in infos if info.type == fs.FileType.Directory]
        infos = [info for info in infos if info.type == fs.FileType.File]
        for folder in folders:
            infos += _folder(filesystem, folder.path)
            problem = "no file in the folder"
        files = [_file(filesystem, info, source) for info in infos]
    except (OSError, UserError) as error:
        files, problem = [], one_line(error)
    stem = source.handle or handle_of(_stem(source.path))
    return files or [TweetFile(source.path, stem, problem=problem)]


def _glob(filesystem: fs.FileSystem, pattern: str) -> list[fs.FileInfo]:
    """Files and folders that match; `*` stays within a folder name, `**` crosses folders."""
    parts = pattern.split("/")
    fixed = next(i for i, part in enumerate(parts) if _GLOB.search(part))
    selector = fs.FileSelector("/".join(parts[:fixed]) or "/", recursive=True, allow_not_found=True)
    wanted = parts[fixed:]
    return [
        info
        for info in filesystem.get_file_info(selector)
        if _matches(info.path.split("/")[fixed:], wanted) and not _hidden(info.path, fixed)
    ]


def _matches(parts: list[str], wanted: list[str]) -> bool:
    if not wanted:
        return not parts
    if wanted[0] == "**":
        return any(_matches(parts[i:], wanted[1:]) for i in range(len(parts) + 1))
    return bool(parts) and fnmatch.fnmatchcase(parts[0], wanted[0]) and _matches(parts[1:], wanted[1:])


def _folder(filesystem: fs.FileSystem, path: str) -> list[fs.FileInfo]:
    """All files below a folder; of an X account export only the parts that hold tweets.

    An export keeps its parts beside an account.js, or at least in a folder data/; around that are an assets
    folder and a page to read it with.
    """
    infos = filesystem.get_file_info(fs.FileSelector(path, recursive=True))
    files = [info for info in infos if info.type == fs.FileType.File and not _hidden(info.path, path.count("/") + 1)]
    parts = {_parent(info.path) for info in files if _EXPORT_PART.fullmatch(info.base_name)}
    accounts = {_parent(info.path) for info in files if info.base_name == "account.js"}
    exports = accounts | {folder for folder in parts if folder.endswith("/data")}
    roots = tuple(f"{folder.removesuffix('/data')}/" for folder in exports)
    return [info for info in files if _EXPORT_PART.fullmatch(info.base_name) or not info.path.startswith(roots)]


def _parent(path: str) -> str:
    return path.rpartition("/")[0]


def _hidden(path: str, depth: int) -> bool:
    return any(part.startswith((".", "__MACOSX")) for part in path.split("/")[depth:])


def _file(filesystem: fs.FileSystem, info: fs.FileInfo, source: TweetSource) -> TweetFile:
    handle = source.handle
    if handle is None and _EXPORT_PART.fullmatch(info.base_name):
        handle = _export_handle(filesystem, info.path)
    elif handle is None:
        handle = handle_of(_stem(info.path))
    mtime = info.mtime_ns / 1e9 if info.mtime_ns else 0.0
    return TweetFile(
        info.path,
        handle,
        info.size or 0,
        mtime,
        filesystem,
        named=source.handle is not None,
        columns={str(ours): theirs for ours, theirs in source.columns.items()},
        users=resolve(source.users)[1] if source.users else None,
        repair=source.repair,
    )


def _stem(path: str) -> str:
    return _SUFFIXES.sub("", path.rpartition("/")[2])


def _export_handle(filesystem: fs.FileSystem, path: str) -> str | None:
    """Whose export a tweets.js is: account.js beside it says, else the nearest folder named like a handle."""
    try:
        with filesystem.open_input_file(f"{_parent(path)}/account.js") as file:
            text = file.read().decode("utf-8")
        return handle_of(str(json.loads(text[text.index("=") + 1 :])[0]["account"]["username"]))
    except (OSError, ValueError, LookupError, TypeError):
        folders = PurePosixPath(path).parts[:-1]
        return next((handle_of(name) for name in reversed(folders) if name != "data" and handle_of(name)), None)
