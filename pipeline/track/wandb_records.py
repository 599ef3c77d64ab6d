"""The records of a .wandb file, as far as they are written: the way back from W&B's format.

for record in records(path):         # wandb_internal_pb2.Record
    if record.HasField("history"): ...
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

_BLOCK = 32 * 1024


def records(path: Path) -> Iterator[Any]:
    """After 7 bytes of header come LevelDB-style chunks in blocks of 32 KiB.

    A chunk is 4 bytes checksum, 2 bytes length, 1 byte kind (1 whole, 2 first, 3 middle, 4 last part of a record)
    and the bytes of the record's part.
    """
    from wandb.proto import wandb_internal_pb2

    new_record: Any = wandb_internal_pb2.Record  # type: ignore[attr-defined]
    data, at, record = path.read_bytes(), 7, b""
    while at + 7 <= len(data):
        if _BLOCK - at % _BLOCK < 7:  # a block's rest that holds no chunk's head
            at += _BLOCK - at % _BLOCK
            continue
        length, kind = int.from_bytes(data[at + 4 : at + 6], "little"), data[at + 6]
        if at + 7 + length > len(data):
            return
        record = (b"" if kind in (1, 2) else record) + data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):
            parsed = new_record()
            parsed.ParseFromString(record)
            yield parsed
