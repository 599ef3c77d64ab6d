"""A run as W&B's own file: an offline run below a folder, that `wandb sync` sends.

    folder = write(run, fleet="politicians", settings=Wandb(), scratch=Path("/tmp/x"))

With everything off that W&B would find out about the process and the machine, this takes milliseconds.
"""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.core.settings import Wandb
from pipeline.track.lineage import Artifact, Run
from pipeline.track.wandb_records import records

if TYPE_CHECKING:
    import wandb

_WRITE_SECONDS = 30  # for W&B to write one run's file
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
    """Writes the run below `scratch`; returns its folder, complete. Raises TimeoutError where W&B stalls."""
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
        settings=wandb.Settings(**_LEAN),  # fresh for each run: W&B writes the run's id into it
    )
    for artifact in run.uses:
        _use(live, artifact)
    for artifact in run.makes:
        live.log_artifact(_artifact(artifact), aliases=list(artifact.aliases))
    for step, values in run.history:
        live.log(values, step=step)
    for name, (columns, rows) in run.tables.items():
        _log_table(live, name, columns, rows)
    live.summary.update(run.summary)
    live.finish()
    folder = next(scratch.glob(f"wandb/offline-run-*-{run.id}"))
    _wait_until_written(folder / f"run-{run.id}.wandb")
    return folder


def _artifact(artifact: Artifact) -> "wandb.Artifact":
    """References with our own digests: nothing is read, hashed or copied to a staging folder."""
    import wandb
    from wandb.sdk.artifacts.artifact_manifest_entry import ArtifactManifestEntry

    made = wandb.Artifact(artifact.name, artifact.type, metadata=artifact.metadata)
    for path, uri in artifact.references.items():
        made.manifest.add_entry(ArtifactManifestEntry(path=path, ref=uri, digest=artifact.digest))
    return made


def _use(live: Any, artifact: Artifact) -> None:
    """An input of an offline run. W&B's use_artifact wants the server; this record, which it writes itself when
    online, is sent as a use by `wandb sync`."""
    live._log_artifact(_artifact(artifact), aliases=["latest"], is_user_created=True, use_after_commit=True)


def _log_table(live: Any, name: str, columns: list[str], rows: list[list[Any]]) -> None:
    """A table in the run's own folder. Unless it is bound first, W&B puts a copy in a staging folder of this
    machine, which a sync from elsewhere does not find and nobody deletes."""
    import wandb

    table = wandb.Table(columns=list(columns), data=rows, allow_mixed_types=True)
    table.bind_to_run(live, name, "table")
    live.log({name: table})


def _wait_until_written(path: Path) -> None:
    """Until the run's file holds its end: W&B's own process writes it, and `finish` does not wait for that."""
    deadline = time.monotonic() + _WRITE_SECONDS
    while not any(record.HasField("exit") for record in records(path)):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{path.name} was not complete after {_WRITE_SECONDS} seconds")
        time.sleep(0.005)
