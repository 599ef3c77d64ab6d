"""SHA256SUMS: the checksums of a published bot's files, so that a damaged or changed file is noticed.

    files[FILE] = of(files)
    parse(files[FILE])                  # {"model.safetensors": "9f86d0…", …}

The format is coreutils': `sha256sum -c SHA256SUMS` in a bot's folder checks it by hand.
"""

import hashlib
import re

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
