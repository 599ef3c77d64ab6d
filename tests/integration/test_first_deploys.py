"""Two fleets, deployed at the same moment on a machine where no cluster runs."""

import os
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import httpx
import psutil
import pytest

from pipeline.core.store import Store
from tests.support import published
from tests.support.serve_fleet import publish
from tests.support.toys import ROOT, environment, free_port, until

BOTS = {"birds": "wren", "ferries": "mabel"}  # of each fleet


@pytest.fixture
def ray_folder():
    """A temporary folder for Ray, in which it finds no cluster; it is short, since Ray's sockets lie in it."""
    with tempfile.TemporaryDirectory(prefix="first-") as folder:
        yield folder


def test_two_first_deploys_at_once_start_one_head_that_serves_both(base, tmp_path, ray_folder):
    surroundings = environment() | {"RAY_TMPDIR": ray_folder}
    surroundings.pop("RAY_ADDRESS", None)
    port = free_port()
    files = [fleet_file(tmp_path / name, name, base, port) for name in BOTS]

    def command(word: str, file: Path) -> subprocess.Popen[str]:
        arguments = [sys.executable, "-m", "pipeline", word, str(file)]
        return subprocess.Popen(
            arguments, cwd=ROOT, env=surroundings, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    try:
        deploys = [command("deploy", file) for file in files]
        lines = [deploy.communicate(timeout=240)[0] for deploy in deploys]
        assert [deploy.returncode for deploy in deploys] == [0, 0], lines
        assert sum("started a local Ray head" in text for text in lines) == 1
        assert sum("gcs_server" in " ".join(one.cmdline()) for one in of_the_folder(ray_folder)) == 1
        for bot in BOTS.values():
            body = {"inputs": "Engine", "parameters": {"max_new_tokens": 5}}
            answer = httpx.post(f"http://127.0.0.1:{port}/bots/{bot}", json=body, timeout=90)
            assert answer.status_code == 200 and answer.json()[0]["generated_text"].startswith("Engine")
    finally:
        undeploys = [command("undeploy", file) for file in files]
        lines = [undeploy.communicate(timeout=120)[0] for undeploy in undeploys]
    assert [undeploy.returncode for undeploy in undeploys] == [0, 0], lines
    assert sum("stopped the local Ray head" in text for text in lines) == 1
    until(lambda: not of_the_folder(ray_folder))


def fleet_file(folder: Path, name: str, base: Path, port: int) -> Path:
    """A fleet of one bot that is published already."""
    folder.mkdir()
    fleet = published.fleet_of(folder, (BOTS[name],), fleet=name, serve={"port": port})
    publish(Path(Store.of(fleet).root), base, BOTS[name])
    return folder / "birds.yaml"


def of_the_folder(ray_folder: str) -> list[psutil.Process]:
    """The processes, other than this one, that have their temporary files there."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):  # it has just ended, or is another user's
            if process.pid != os.getpid() and process.environ().get("RAY_TMPDIR") == ray_folder:
                found.append(process)
    return found
