"""Reads Parquet files: columns are found by their usual names, as in CSV; nested columns are read like JSON."""

import io
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.tweets import reddit
from pipeline.tweets.authors import naming_somebody
from pipeline.tweets.columns import KNOWN, TEXT_NAMES, Columns, missing, plain_name
from pipeline.tweets.files import TweetFile
from pipeline.tweets.json_tweet import NESTED, Tweets
from pipeline.tweets.record import NOT_TWEETS, Profile, Reject, Row
from pipeline.tweets.users import Users

MAGIC = b"PAR1"
_ROWS = 2_000  # read at a time
_MAX_ROW_GROUP = 4 * 2**30  # bytes, unpacked
_WANTED = KNOWN | {plain_name(name) for name in NESTED | reddit.KEYS}


def rows(stream: io.BufferedReader, file: TweetFile, users: Users) -> Iterator[Row | Reject | Profile]:
    """Yields the tweets and accounts of a Parquet file. Raises OSError or ValueError if it is broken."""
    with ExitStack() as closing:
        table = pq.ParquetFile(closing.enter_context(_seekable(stream, file, closing)))
        names = table.schema_arrow.names
        columns = Columns.of(names, file.columns, nested=True)
        problem = missing(names, file.columns, nested=True)
        if problem is None and not columns.text and not reddit.is_table(names):
            problem = f"{NOT_TWEETS}: no column named {', '.join(TEXT_NAMES)}"
        if problem is not None:
            yield Reject(0, problem)
            return
        asked = {plain_name(name).partition(".")[0] for name in file.columns.values() if name}
        asked |= {plain_name(name) for name in file.columns.values() if name}
        asked |= {plain_name(name) for name in naming_somebody(names, file)}
        wanted = [name for name in names if plain_name(name) in _WANTED | asked]
        _check_sizes(table.metadata)
        tweets, line = Tweets(file, users), 0
        for batch in table.iter_batches(_ROWS, columns=wanted):
            for item in batch.to_pylist():
                line += 1
                yield from tweets.rows(item, line)


def _seekable(stream: io.BufferedReader, file: TweetFile, closing: ExitStack) -> Any:
    """Returns a seekable file, since Parquet is read from its end: the file itself, or a decompressed copy on disk."""
    source = file.filesystem.open_input_file(file.path)
    if source.read(4) == MAGIC:
        return source
    source.close()
    local = closing.enter_context(tempfile.TemporaryFile())  # noqa: SIM115
    shutil.copyfileobj(stream, local)
    return pa.PythonFile(local)


def _check_sizes(metadata: pq.FileMetaData) -> None:
    """Raises ValueError at a row group that may not fit into memory.

    It looks at no column's metadata: where a file is broken there, pyarrow ends the whole process.
    """
    for number in range(metadata.num_row_groups):
        if metadata.row_group(number).total_byte_size > _MAX_ROW_GROUP:
            raise ValueError(f"over {_MAX_ROW_GROUP // 2**30} GiB in one row group; write smaller ones")
