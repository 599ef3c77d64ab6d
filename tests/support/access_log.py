"""The access logs that the gateways write into Ray's folder of logs."""

import json
from pathlib import Path
from typing import Any

import ray


def lines_of(request_id: str) -> list[tuple[Path, dict[str, Any]]]:
    """The lines of the requests whose ids begin with `request_id`, each with its file; each gateway has a file."""
    folder = Path(ray._private.worker._global_node.get_logs_dir_path())
    return [
        (path, json.loads(line))
        for path in folder.glob("worker-*.out")
        for line in path.read_text(errors="replace").splitlines()
        if f'"request_id": "{request_id}' in line
    ]
