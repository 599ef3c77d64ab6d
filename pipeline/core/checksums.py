"""SHA256SUMS: what the files of a published bot are, so that whoever loads one can tell whether it is still that.

    files[FILE] = of(files)
    parse(files[FILE])                  # {"model.safetensors": "9f86d0…", …}

The format is coreutils': `sha256sum -c SHA256SUMS` in a bot's folder checks it by hand.
"""

import hashlib
import re

FILE = "SHA256SUMS"
_LINE = re.compile(r"([0-9a-f]{64})  ([^/\0]+)")


def of(files: dict[str, bytes]) -> bytes:
    return "".join(f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in sorted(files.items())).encode()


def parse(data: bytes) -> dict[str, str]:
    """The digest of each file. Raises ValueError for a line that is none."""
    found = {}
    for number, line in enumerate(data.decode(errors="replace").splitlines(), 1):
        match = _LINE.fullmatch(line)
        if not match:
            raise ValueError(f"{FILE}: line {number} is not a digest and a file's name")
        found[match[2]] = match[1]
    return found
