"""Runs a fleet as a job on a cluster: what `huggingtweets submit fleet.yaml --address URL` does.

    job = submit(fleet, "http://127.0.0.1:8265", progress)
    job.id, job.exit_code

It packs a folder with this code, the fleet file and the fleet's local files, and sends it as the working directory of
`python -m pipeline run fleet.yaml`. So the cluster runs the same code as this machine and can read its tweets.
"""

import asyncio
import os
import shlex
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml
from ray.job_submission import JobStatus, JobSubmissionClient

import pipeline
import serve
from pipeline.core.errors import UserError, one_line
from pipeline.core.fleet import Fleet
from pipeline.core.progress import Progress
from pipeline.core.settings import TweetSource

_MAX_BYTES = 400 * 2**20  # Ray refuses a working directory of 500 MiB
_NOT_PACKED = ("__pycache__", "*.pyc")


@dataclass(frozen=True)
class SubmittedJob:
    """A job of Ray's Jobs API; `exit_code` is that of its command, None if `submit` did not wait for it."""

    id: str
    exit_code: int | None


def submit(
    fleet: Fleet,
    address: str,
    progress: Progress,
    bots: list[str] | None = None,
    deploy: bool = False,
    wait: bool = True,
) -> SubmittedJob:
    """Submits the command `run`, for some `bots` only and with --deploy if asked; `wait` shows its output to the end.

    `address` is the URL of the cluster's dashboard. Raises UserError if the cluster does not accept the job, or if the
    fleet's local files are too large to send.
    """
    if "://" not in fleet.storage:
        progress.say(
            f"storage {fleet.storage} is a folder on the node that runs the job, unless all nodes share that disk"
        )
    command = ["python", "-m", "pipeline", "run", "fleet.yaml"]
    command += (["--bots", ",".join(bots)] if bots else []) + (["--deploy"] if deploy else [])
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        pack(fleet, folder)
        try:
            with _unset("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS"):  # the client would prefer them to `address`
                client = JobSubmissionClient(address)
            job = client.submit_job(entrypoint=shlex.join(command), runtime_env={"working_dir": str(folder)})
        except Exception as error:  # the client passes on any error of its HTTP library
            raise UserError(f"--address {address}: the cluster did not accept the job: {one_line(error)}") from error
    progress.say(f"job {job}; `ray job stop {job} --address {address}` stops it")
    return SubmittedJob(job, _follow(client, job) if wait else None)


@contextmanager
def _unset(*names: str) -> Iterator[None]:
    """Removes these environment variables inside the block."""
    kept = {name: os.environ.pop(name) for name in names if name in os.environ}
    try:
        yield
    finally:
        os.environ |= kept


def pack(fleet: Fleet, folder: Path) -> None:
    """Fills the job's folder: the code, fleet.yaml, and the fleet's local tweets, base model and lists of words."""
    for package in (pipeline, serve):
        source = Path(str(package.__file__)).parent
        shutil.copytree(source, folder / source.name, ignore=shutil.ignore_patterns(*_NOT_PACKED))
    sources = [_packed(source, folder / "tweets" / str(i)) for i, source in enumerate(fleet.tweets)]
    base = fleet.base_model
    if Path(base).is_absolute():
        base = str(_copy(Path(base), folder / "base").relative_to(folder))
    tweets = [
        source.model_copy(
            update={
                "path": _relative(source.path, folder),
                **({"users": _relative(source.users, folder)} if source.users else {}),
            }
        ).model_dump(mode="json", exclude_unset=True)
        for source in sources
    ]
    data = fleet.model_dump(mode="json", exclude_unset=True) | {"tweets": tweets, "base_model": base}
    for section, key in (("filters", "blocked_words"), ("evaluate", "block_list")):
        path = data.get(section, {}).get(key)
        if isinstance(path, str):
            data[section][key] = str(_copy(Path(path), folder / key).relative_to(folder))
    (folder / "fleet.yaml").write_text(yaml.safe_dump(data, allow_unicode=True, sort_keys=False), encoding="utf-8")
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    if size > _MAX_BYTES:
        raise UserError(
            f"the fleet's local files are {size / 2**20:,.0f} MiB, and a job can bring {_MAX_BYTES / 2**20:,.0f} "
            "MiB; put the tweets where the cluster reads them (s3://…, gs://…)"
        )


def _packed(source: TweetSource, folder: Path) -> TweetSource:
    """The source with its local files copied below `folder`; they keep their names, which can be handles."""
    if "://" in source.path:
        return source
    if source.users:
        source = source.model_copy(update={"users": str(_copy(Path(source.users), folder / "users" / "accounts"))})
    path = Path(source.path)
    if path.exists():
        return source.model_copy(update={"path": str(_copy(path, folder / path.name))})
    # a glob: its matches are below the part without wildcards
    parts = path.parts
    fixed = next(i for i, part in enumerate([*parts, "*"]) if any(sign in part for sign in "*?["))
    root = Path(*parts[:fixed])
    for match in sorted(root.glob(str(Path(*parts[fixed:])))) if parts[fixed:] else ():
        _copy(match, folder / root.name / match.relative_to(root))
    return source.model_copy(update={"path": str(Path(folder / root.name, *parts[fixed:]))})


def _copy(source: Path, target: Path) -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, dirs_exist_ok=True)
    else:
        shutil.copy2(source, target)
    return target


def _relative(path: str, folder: Path) -> str:
    return str(Path(path).relative_to(folder)) if path.startswith(str(folder)) else path


def _follow(client: JobSubmissionClient, job: str) -> int:
    """Prints the job's output as it arrives; returns its exit code."""

    async def show() -> None:
        async for text in client.tail_job_logs(job):
            print(text, end="", flush=True)

    asyncio.run(show())
    details = client.get_job_info(job)
    if details.driver_exit_code is not None:
        return int(details.driver_exit_code)
    return 0 if details.status == JobStatus.SUCCEEDED else 1
