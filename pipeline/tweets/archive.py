"""Reads zip and tar archives: account exports of X, Mastodon and others as downloaded, or any packed files of tweets.

A zip file is read in place. From a tar archive, the parts that may hold tweets are unpacked to a temporary folder. Both
become a pyarrow file system, so their parts are read like files in a folder.
"""

import io
import re
import shutil
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath

from fsspec.implementations.zip import ZipFileSystem
from pyarrow import fs

from pipeline.tweets.byte_stream import MAX_RATIO, MAX_UNPACKED
from pipeline.tweets.files import TweetFile, hidden, owner, tweet_files
from pipeline.tweets.record import Reject

MAGIC = b"PK\x03\x04"
_MAX_PARTS = 100_000
_MEDIA = re.compile(r"\.(jpe?g|png|gif|webp|svg|mp4|m4[av]|mov|mp3|ogg|html?|css|ico|woff2?|pdf)$", re.IGNORECASE)


def parts(file: TweetFile) -> Iterator[TweetFile | Reject]:
    """Yields the parts of a zip file that may hold tweets, and a Reject for each unsafe path.

    Raises ValueError or OSError for a broken archive, and for a zip bomb: one that unpacks to far more than text does.
    """
    with io.BufferedReader(file.filesystem.open_input_file(file.path)) as raw:
        try:
            folder = ZipFileSystem(raw, skip_instance_cache=True)
        except (zipfile.BadZipFile, NotImplementedError) as error:
            raise ValueError(f"a broken zip file: {error}") from None
        _slashes(folder.zip)
        entries = [entry for entry in folder.zip.infolist() if not entry.is_dir()]
        for entry in entries:
            if not _stays(entry.filename):
                yield Reject(0, f"a path that leaves the archive: {entry.filename[:80]!r}")
        names = {entry.filename: entry for entry in entries if _stays(entry.filename) and not hidden(entry.filename)}
        infos = [fs.FileInfo(name, fs.FileType.File, size=entry.file_size) for name, entry in names.items()]
        if any(info.path == "xl/workbook.xml" for info in infos):
            raise ValueError("an Excel workbook; save its sheet as CSV UTF-8 and name that file")
        chosen = [info for info in tweet_files(infos) if not _MEDIA.search(info.path)]
        if len(chosen) > _MAX_PARTS:
            raise ValueError(f"{len(chosen):,} files of tweets in one zip file; unpack it and name the folder")
        size = sum(names[info.path].file_size for info in chosen)
        packed = sum(names[info.path].compress_size for info in chosen)
        if size > max(MAX_UNPACKED, MAX_RATIO * min(packed, file.size)):
            raise ValueError(f"it unpacks to {size / 2**20:,.0f} MiB from {file.size:,} bytes: a zip bomb?")
        filesystem = fs.PyFileSystem(fs.FSSpecHandler(folder))
        for info in chosen:
            handle = file.handle if file.named else owner(filesystem, info.path, file.path)
            yield replace(file, path=info.path, size=info.size, handle=handle, filesystem=filesystem, archive=file.path)


def is_tar(head: bytes) -> bool:
    """Whether a file that begins with these bytes is a tar archive."""
    return head[257:262] == b"ustar"


def tar_parts(stream: io.BufferedReader, file: TweetFile, folder: str) -> Iterator[TweetFile | Reject]:
    """Unpacks the parts of a tar archive that may hold tweets into `folder` and yields them; a Reject for unsafe paths.

    Raises ValueError or OSError for a broken archive, and for one that unpacks to far more than text does.
    """
    left = max(MAX_UNPACKED, MAX_RATIO * file.size)
    try:
        with tarfile.open(fileobj=stream, mode="r|") as packed:
            for member in packed:
                name = member.name.removeprefix("./")
                if member.isfile() and not _stays(name):
                    yield Reject(0, f"a path that leaves the archive: {name[:80]!r}")
                    continue
                if not member.isfile() or hidden(name) or _MEDIA.search(name):
                    continue
                left -= member.size
                if left < 0:
                    raise ValueError(f"it unpacks to far more than its {file.size:,} bytes: a bomb?")
                place = Path(folder, name)
                place.parent.mkdir(parents=True, exist_ok=True)
                with place.open("wb") as out:
                    shutil.copyfileobj(packed.extractfile(member), out)  # type: ignore[arg-type]
    except tarfile.TarError as error:
        raise ValueError(f"a broken tar archive: {error}") from None
    filesystem = fs.SubTreeFileSystem(folder, fs.LocalFileSystem())
    infos = filesystem.get_file_info(fs.FileSelector("", recursive=True))
    for info in tweet_files([info for info in infos if info.type == fs.FileType.File]):
        handle = file.handle if file.named else owner(filesystem, info.path, file.path)
        yield replace(file, path=info.path, size=info.size, handle=handle, filesystem=filesystem, archive=file.path)


def _slashes(archive: zipfile.ZipFile) -> None:
    """Replaces the backslashes in the paths of a zip file that was packed on Windows."""
    for entry in archive.infolist():
        if "\\" in entry.filename:
            entry.filename = entry.filename.replace("\\", "/")
            archive.NameToInfo[entry.filename] = entry


def _stays(name: str) -> bool:
    """Whether a path stays inside the folder that it is unpacked to."""
    path = PurePosixPath(name.replace("\\", "/"))
    return not path.is_absolute() and ".." not in path.parts and ":" not in path.parts[0] if path.parts else False
