"""The gateways' access logs, as Ray keeps them."""

import json
from pathlib import Path
from typing import Any

import ray


def lines_of(request_id: str) -> list[tuple[Path, dict[str, Any]]]:
    """The lines of requests whose id begins so, each with the file that it is in: a gateway's own."""
    folder = Path(ray._private.worker._global_node.get_logs_dir_path())
    return [
        (path, json.loads(line))
        for path in folder.glob("worker-*.out")
        for line in path.read_text(errors="replace").splitlines()
        if f'"request_id": "{request_id}' in line
    ]
