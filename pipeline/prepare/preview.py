"""A preview of one person: how many tweets are kept and left out, and some tweets of each kind.

found = preview(files, "nasa", Filters(replies=False))
found["counts"], found["texts"]["replies"]
print("\\n".join(lines(found)))
"""

import json
from collections.abc import Iterator
from typing import Any, cast

import pyarrow as pa

from pipeline.core.errors import UserError
from pipeline.core.settings import Filters
from pipeline.prepare.by_person import Sample, sampled
from pipeline.prepare.dataset import WHOLE, chunks_of
from pipeline.prepare.filters import ROWS, resolved
from pipeline.tweets import TweetFile


class Preview(Sample):
    """The sample of one person, with their handle."""

    handle: str


def preview(files: list[TweetFile], handle: str, filters: Filters, count: int = 10) -> Preview:
    """Returns a person's counts as `prepare` would count them, and up to `count` texts for each row of the counts.

    Raises UserError if the files have no tweet of that person.
    """
    filters = resolved(filters)
    chunks = chunks_of([file for file in files if file.problem is None], filters, only=handle).repartition(1)
    sample = chunks.map_batches(cast(Any, _sample), fn_kwargs={"filters": filters, "count": count}, **WHOLE)
    found = [json.loads(row["sample"]) for row in sample.iter_rows()]
    if not found:
        raise UserError(f"no posts of @{handle} in the fleet's files")
    return {"handle": handle, **cast(Sample, found[0])}


def _sample(chunk: pa.Table, filters: Filters, count: int) -> pa.Table:
    sample = [json.dumps(sampled(chunk, filters, count))] if len(chunk) else []
    return pa.table({"sample": pa.array(sample, pa.string())})


def lines(found: Preview) -> Iterator[str]:
    """Yields a preview as lines for a terminal."""
    yield f"@{found['handle']}" + (f" ({found['name']})" if found["name"] else "")
    for row, count in found["counts"].items():
        yield f"{count:>9,}  {ROWS[row].lower()}"
    for row, texts in sorted(found["texts"].items(), key=lambda item: item[0] != "kept"):
        if texts:
            yield f"\n{ROWS[row]}: {len(texts)} of {found['counts'][row]:,}"
            yield from (f"  {' '.join(text.split())}" for text in texts)
