"""Writes a run as W&B's own files: an offline run that `wandb sync` can send.

    folder = write(run, fleet="politicians", settings=Wandb(), scratch=Path("/tmp/x"))

Everything that W&B would collect about the process and the machine is off, so a run takes milliseconds.
"""

import time
from pathlib import Path

from pipeline.core.settings import Wandb
from pipeline.track.lineage import Run
from pipeline.track.wandb_internals import log_table, read_records, referenced_artifact, use_artifact

_WRITE_SECONDS = 30  # that W&B may take to write one run's file
_LEAN = {
    "console": "off",
    "silent": True,
    "x_disable_stats": True,
    "x_disable_meta": True,
    "x_save_requirements": False,
    "disable_git": True,
    "disable_code": True,
    "x_transaction_log_flush_interval": 0.02,  # seconds
}


def write(run: Run, fleet: str, settings: Wandb, scratch: Path) -> Path:
    """Writes the run below `scratch`; returns its folder, complete. Raises TimeoutError if W&B stalls."""
    import wandb

    live = wandb.init(
        project=settings.project,
        entity=settings.entity,
        group=fleet,
        job_type=run.job_type,
        name=run.name,
        id=run.id,
        dir=str(scratch),
        mode="offline",
        reinit="create_new",
        config=run.config,
        settings=wandb.Settings(**_LEAN),  # a new object for each run: W&B writes the run's id into it
    )
    for artifact in run.uses:
        use_artifact(live, artifact)
    for artifact in run.makes:
        live.log_artifact(referenced_artifact(artifact), aliases=list(artifact.aliases))
    for step, values in run.history:
        live.log(values, step=step)
    for name, (columns, rows) in run.tables.items():
        log_table(live, name, columns, rows)
    live.summary.update(run.summary)
    live.finish()
    folder = next(scratch.glob(f"wandb/offline-run-*-{run.id}"))
    _wait_until_written(folder / f"run-{run.id}.wandb")
    return folder


def _wait_until_written(path: Path) -> None:
    """Waits for the run's last record: W&B's own process writes the file, and `finish` does not wait for it."""
    deadline = time.monotonic() + _WRITE_SECONDS
    while not any(record.HasField("exit") for record in read_records(path)):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{path.name} was not complete after {_WRITE_SECONDS} seconds")
        time.sleep(0.005)
