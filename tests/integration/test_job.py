"""`ray job submit` against a cluster with token auth: the way in on a real cluster."""

import json
import subprocess
from pathlib import Path

import pytest
from ray._private.services import get_webui_url_from_internal_kv

from tests.support.toys import ROOT, environment, until

pytestmark = pytest.mark.usefixtures("cluster")


@pytest.fixture(scope="module")
def dashboard(cluster):
    """The address of the Jobs API; it comes up a moment after the cluster."""
    until(get_webui_url_from_internal_kv, 60)
    return f"http://{get_webui_url_from_internal_kv()}"


@pytest.fixture
def submit(dashboard):
    def run(*command: str, folder: Path = ROOT, **changes: str) -> subprocess.CompletedProcess:
        arguments = ["ray", "job", "submit", "--address", dashboard, "--working-dir", ".", "--", *command]
        # as in another terminal: a client of Ray's would take RAY_ADDRESS over the address that it is given
        variables = {name: value for name, value in environment().items() if name != "RAY_ADDRESS"} | changes
        return subprocess.run(arguments, cwd=folder, env=variables, capture_output=True, text=True, timeout=300)

    return run


def test_a_fleet_runs_as_a_submitted_job(make_fleet, submit, dashboard, huggingtweets):
    path = make_fleet(("ada",), train={"epochs": 1})
    done = submit("python", "-m", "pipeline", "run", str(path))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "ada: held-out loss" in done.stdout  # progress, in `ray job logs`
    report = json.loads((path.parent / "fleets" / "toys" / "report.json").read_text())
    assert [row["status"] for row in report["bots"]] == ["trained"]
    # the same fleet, its code and tweets packed for a cluster that has neither
    code, out, err = huggingtweets("submit", path, "--address", dashboard, "--set", "train.epochs=1")
    assert code == 0, out + err
    assert "prepare 1/1: 1 people, " in out
    report = json.loads((path.parent / "fleets" / "toys" / "report.json").read_text())
    assert [row["status"] for row in report["bots"]] == ["unchanged"]


def test_a_job_whose_storage_ray_would_delete_is_refused_before_any_work(make_fleet, submit):
    path = make_fleet(("ada",))
    refused = submit("python", "-m", "pipeline", "run", path.name, folder=path.parent)
    assert refused.returncode != 0
    assert "Ray's temporary copy of the job's folder" in refused.stdout
    assert "prepare" not in refused.stdout and "succeeded" not in refused.stdout


def test_without_the_token_nothing_is_run(submit, tmp_path):
    (tmp_path / "wrong").write_text("0" * 32)
    refused = submit("python", "-c", "print(1)", RAY_AUTH_TOKEN_PATH=str(tmp_path / "wrong"))
    assert refused.returncode != 0
    assert "token" in (refused.stdout + refused.stderr).lower()


def test_a_cluster_that_does_not_answer_is_named(make_fleet, huggingtweets):
    # beside the tests' own cluster: a client of Ray's would take its RAY_ADDRESS over the address that it is given
    code, _, err = huggingtweets("submit", make_fleet(("ada",)), "--address", "http://127.0.0.1:9")
    assert code == 1 and "--address" in err
