"""SHA256SUMS: the checksums of a published bot's files, so that a damaged or changed file is noticed.

    files[FILE] = of(files)
    parse(files[FILE])                  # {"model.safetensors": "9f86d0…", …}
    check(folder)                       # raises ValueError for a changed file

The format is coreutils': `sha256sum -c SHA256SUMS` in a bot's folder checks it by hand.
"""

import hashlib
import re
from collections.abc import Set
from pathlib import Path

FILE = "SHA256SUMS"
_LINE = re.compile(r"([0-9a-f]{64})  ([^/\0]+)")


def of(files: dict[str, bytes]) -> bytes:
    """Returns the content of SHA256SUMS for files, given by name."""
    return "".join(f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in sorted(files.items())).encode()


def parse(data: bytes) -> dict[str, str]:
    """Returns the SHA-256 of each file, in hex, by name. Raises ValueError naming a line that has none."""
    found = {}
    for number, line in enumerate(data.decode(errors="replace").splitlines(), 1):
        match = _LINE.fullmatch(line)
        if not match:
            raise ValueError(f"{FILE}: line {number} is not a checksum and a file's name")
        found[match[2]] = match[1]
    return found


def check(folder: Path, unchecked: Set[str] = frozenset()) -> None:
    """Raises ValueError naming the first file in `folder` that is missing or does not match SHA256SUMS.

    A folder without SHA256SUMS passes: bots that were published by early versions have none.
    """
    if not (folder / FILE).exists():
        return
    for name, digest in parse((folder / FILE).read_bytes()).items():
        path = folder / name
        if name in unchecked:
            continue
        if not path.exists():
            raise ValueError(f"{path} is missing")
        if (found := digest_of(path)) != digest:
            raise ValueError(mismatch(str(path), found, digest))


def digest_of(path: Path) -> str:
    """Returns the SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def mismatch(path: str, found: str, expected: str) -> str:
    """Returns the error message for a file whose SHA-256 is `found` instead of `expected`."""
    return f"{path} is not what was published (sha256 {found[:12]}…, not {expected[:12]}…)"
