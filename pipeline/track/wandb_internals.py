"""All uses of W&B's client beyond its public API, each with the reason. pyproject.toml bounds W&B's version.

live = wandb.init(mode="offline", ...)
use_artifact(live, referenced_artifact(dataset))     # an input, offline
log_table(live, "samples", ["prompt", "text"], rows)
for record in read_records(path):                    # wandb_internal_pb2.Record
    if record.HasField("history"): ...
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.track.lineage import Artifact

if TYPE_CHECKING:
    import wandb

_BLOCK = 32 * 1024  # bytes
_HEADER = 7  # bytes, of the file and of each chunk
_WHOLE, _FIRST, _LAST = 1, 2, 4  # kinds of chunks; a middle one is 3


def referenced_artifact(artifact: Artifact) -> "wandb.Artifact":
    """W&B's artifact with references to the store's files and our own digests.

    `wandb.Artifact.add_reference` would open each file to compute its digest; an entry of our own reads, hashes and
    copies nothing.
    """
    import wandb
    from wandb.sdk.artifacts.artifact_manifest_entry import ArtifactManifestEntry

    made = wandb.Artifact(artifact.name, artifact.type, metadata=artifact.metadata)
    for path, uri in artifact.references.items():
        made.manifest.add_entry(ArtifactManifestEntry(path=path, ref=uri, digest=artifact.digest))
    return made


def use_artifact(live: "wandb.Run", artifact: Artifact) -> None:
    """Records an input of an offline run; `wandb sync` sends it as a use.

    The public `use_artifact` raises offline. An online run writes this same record itself.
    """
    made = referenced_artifact(artifact)
    live._log_artifact(made, aliases=["latest"], is_user_created=True, use_after_commit=True)


def log_table(live: "wandb.Run", name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Logs a table whose file lies in the run's own folder.

    Unless the table is bound to the run first, W&B copies it to a staging folder of this machine. A sync from
    another machine does not find it there, and nobody deletes it.
    """
    import wandb

    table = wandb.Table(columns=list(columns), data=list(rows), allow_mixed_types=True)
    table.bind_to_run(live, name, "table")
    live.log({name: table})


def read_records(path: Path) -> Iterator[Any]:
    """The complete records of a .wandb file, in order; W&B has no reader of its own.

    After a 7-byte header come LevelDB-style chunks in blocks of 32 KiB. A chunk is 4 bytes of checksum, 2 bytes of
    length, 1 byte of kind (1 whole, 2 first, 3 middle, 4 last part of a record), and that part of the record.
    """
    from wandb.proto import wandb_internal_pb2

    new_record: Any = wandb_internal_pb2.Record  # type: ignore[attr-defined]
    data, at, record = path.read_bytes(), _HEADER, b""
    while at + _HEADER <= len(data):
        if _BLOCK - at % _BLOCK < _HEADER:  # no chunk begins in the last bytes of a block
            at += _BLOCK - at % _BLOCK
            continue
        length, kind = int.from_bytes(data[at + 4 : at + 6], "little"), data[at + 6]
        if at + _HEADER + length > len(data):
            return
        record = (b"" if kind in (_WHOLE, _FIRST) else record) + data[at + _HEADER : at + _HEADER + length]
        at += _HEADER + length
        if kind in (_WHOLE, _LAST):
            parsed = new_record()
            parsed.ParseFromString(record)
            yield parsed
