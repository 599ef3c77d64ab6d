"""This project's own files: where they are, and a hash that shows whether two nodes run the same build.

    code_hash(PROJECT / "serve", PROJECT / "pipeline" / "core")     # "3f2a9c01d5e7"

Two builds can have the same version number, so the number does not show whether the code is the same.
"""

import hashlib
from pathlib import Path

PROJECT = Path(__file__).parents[2]  # the folder that holds the packages `pipeline` and `serve`
ASSETS = PROJECT / "pipeline" / "assets"  # the bundled base model and sample tweets, templates and fonts


def code_hash(*folders: Path) -> str:
    """Returns 12 hexadecimal digits over the relative paths and contents of all files below `folders`.

    Templates, scripts, styles and fonts count like Python modules: each of them changes what is served. Compiled
    files (`__pycache__`) do not count.
    """
    digest = hashlib.sha256()
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                digest.update(f"{folder.name}/{path.relative_to(folder).as_posix()}\0".encode())
                digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:12]
