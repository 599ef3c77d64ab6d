"""A fleet on three hosts that share only S3, while hosts, cables, drivers and the store fail and return.

make test-cluster ARGS='-k faults --log-cli-level=INFO'
"""

import json
import logging
import random
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.hosts.lab import HEAD, Lab, unavailable
from tests.support.toys import ROOT, WORDS, tweets_of, write_csv

FAULTS = 20
BOTS = 24
DASHBOARD = f"http://{HEAD}:8265"
log = logging.getLogger("faults")
pytestmark = pytest.mark.skipif(unavailable() is not None, reason=f"a lab {unavailable()}")


@pytest.fixture(scope="module")
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    with Lab(3, ROOT) as lab:
        lab.operator("import boto3; boto3.client('s3').create_bucket(Bucket='fleets')")
        yield lab
        lab.keep = bool(request.session.testsfailed)


@pytest.fixture(scope="module")
def write_fleet(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A fleet of BOTS toy bots, some trained by two workers, under the name that is asked for."""
    folder = tmp_path_factory.mktemp("fleet")
    handles = [f"{name}_{i}" for i in range(BOTS // len(WORDS)) for name in WORDS]
    for i, handle in enumerate(handles):
        write_csv(
            folder / "tweets" / f"{handle}.csv", tweets_of(handle.split("_")[0], 130 + 3 * i), first_id=1 + 10_000 * i
        )

    def write(name: str) -> Path:
        train = {"epochs": 20, "retries": 50, "overrides": [{"bots": handles[:4], "workers_per_bot": 2}]}
        fleet = {"fleet": name, "storage": "s3://fleets/lab", "tweets": ["tweets/*.csv"], "base_model": str(base)}
        path = folder / f"{name}.yaml"
        path.write_text(json.dumps(fleet | {"train": train, "wandb": {"mode": "disabled"}}))
        return path

    return write


class Job:
    """The fleet's `run` on the cluster, submitted again when it ends without an answer."""

    def __init__(self, lab: Lab, fleet: Path):
        self.lab, self.fleet, self.submitted = lab, fleet, 0
        self.submit()

    def submit(self) -> None:
        command = [
            sys.executable,
            "-m",
            "pipeline",
            "submit",
            str(self.fleet),
            "--address",
            DASHBOARD,
            "--no-wait",
            "--json",
        ]
        process = self.lab.outside(command)
        out, _ = process.communicate(timeout=300)
        assert process.returncode == 0, out
        self.id = json.loads(out.splitlines()[-1])["job"]
        self.submitted += 1

    def status(self) -> str:
        code = (
            "from ray.job_submission import JobSubmissionClient as Client; "
            f"print(Client('{DASHBOARD}').get_job_status('{self.id}').value)"
        )
        return self.lab.operator(code).split()[-1]

    def wait(self, seconds: float) -> None:
        """Until it has succeeded; a driver that was killed is submitted again."""
        deadline = time.monotonic() + seconds
        while (status := self.status()) != "SUCCEEDED":
            assert time.monotonic() < deadline, f"the fleet is not done; the logs are in {self.lab.state}"
            if status in ("FAILED", "STOPPED"):
                log.info("the driver is gone; submitted again")
                self.submit()
            time.sleep(3)


def models(lab: Lab, fleet: str) -> dict[str, str]:
    """Each bot's version in use with the hash of its weights, as the store has them."""
    code = f"""
import boto3, hashlib, json
bucket = boto3.resource("s3").Bucket("fleets")
read = lambda key: bucket.Object(key).get()["Body"].read()
found = {{}}
for item in bucket.objects.filter(Prefix="lab/{fleet}/bots/"):
    if item.key.endswith("/current"):
        folder = item.key.rpartition("/")[0]
        version = read(item.key).decode()
        digest = hashlib.sha256(read(f"{{folder}}/{{version}}/model.safetensors")).hexdigest()
        found[folder.rpartition("/")[2]] = f"{{version}} {{digest}}"
print(json.dumps(found))
"""
    return json.loads(lab.operator(code).splitlines()[-1])


def faults(lab: Lab, dice: random.Random) -> list[tuple[str, Callable[[], Any]]]:
    worker = dice.choice([2, 3])

    def lose_host() -> None:
        lab.kill(worker)
        time.sleep(dice.uniform(1, 10))
        lab.start(worker)

    def cut_host() -> None:
        lab.cut(worker)
        time.sleep(60)
        lab.mend(worker)
        lab.kill(worker)  # it was declared dead meanwhile
        lab.start(worker)

    def lose_store() -> None:
        lab.s3_gone()
        time.sleep(30)
        lab.s3_back()

    return [
        (f"host {worker} loses power", lose_host),
        (f"host {worker} is cut off for a minute", cut_host),
        ("the driver is killed", lab.kill_driver),
        ("the store is gone for 30 s", lose_store),
    ]


def test_a_fleet_ends_whole_and_the_same_whatever_is_lost_on_the_way(lab: Lab, write_fleet: Callable[[str], Path]):
    Job(lab, write_fleet("calm")).wait(1200)
    undisturbed = models(lab, "calm")
    assert len(undisturbed) == BOTS
    dice = random.Random(7)
    done, rounds = 0, 0
    while done < FAULTS:
        rounds += 1
        job = Job(lab, write_fleet(f"stormy-{rounds}"))
        while done < FAULTS:
            time.sleep(dice.uniform(3, 20))
            if job.status() == "SUCCEEDED":  # nothing is left to be hit
                break
            name, strike = dice.choice(faults(lab, dice))
            if strike() is not False:  # a driver that has ended meanwhile cannot be killed
                done += 1
                log.info("fault %d of %d, in fleet %d: %s", done, FAULTS, rounds, name)
            if job.status() in ("FAILED", "STOPPED"):
                job.submit()
        job.wait(1800)
        assert models(lab, f"stormy-{rounds}") == undisturbed
        log.info("fleet %d is whole, submitted %d times", rounds, job.submitted)


def test_a_checkout_is_a_job_of_its_own(lab: Lab, tmp_path: Path):
    """`ray job submit --working-dir .`, from the operator's checkout to hosts that have none."""
    submit = [f"{Path(sys.executable).parent}/ray", "job", "submit", "--address", DASHBOARD, "--working-dir", "."]
    process = lab.outside([*submit, "--", "python", "-m", "pipeline", "--help"])
    out, _ = process.communicate(timeout=300)
    assert process.returncode == 0 and "prepare" in out, out
