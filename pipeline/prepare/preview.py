"""What prepare keeps of one person, what it leaves out, and why: some tweets of each, before anything is trained.

seen = preview(files, "nasa", Filters(replies=False))
seen["counts"], seen["texts"]["replies"]
print("\\n".join(lines(seen)))
"""

import json
from collections.abc import Iterator
from typing import Any, cast

import pyarrow as pa

from pipeline.core.errors import UserError
from pipeline.core.settings import Filters
from pipeline.prepare import people
from pipeline.prepare.dataset import WHOLE, chunks_of
from pipeline.prepare.filters import ROWS, resolved
from pipeline.tweets import TweetFile


def preview(files: list[TweetFile], handle: str, filters: Filters, count: int = 10) -> dict[str, Any]:
    """What `prepare` would say of one person: their name, their counts, and `count` texts for each row of these.

    Raises UserError where the files hold no tweet of theirs.
    """
    filters = resolved(filters)
    chunks = chunks_of([file for file in files if file.problem is None], filters, only=handle).repartition(1)
    sample = chunks.map_batches(cast(Any, _sample), fn_kwargs={"filters": filters, "count": count}, **WHOLE)
    found = [json.loads(row["sample"]) for row in sample.iter_rows()]
    if not found:
        raise UserError(f"no tweets of @{handle} in the fleet's files")
    return {"handle": handle} | found[0]


def _sample(chunk: pa.Table, filters: Filters, count: int) -> pa.Table:
    sample = [json.dumps(people.sampled(chunk, filters, count))] if len(chunk) else []
    return pa.table({"sample": pa.array(sample, pa.string())})


def lines(seen: dict[str, Any]) -> Iterator[str]:
    """The preview for a terminal."""
    yield f"@{seen['handle']}" + (f" ({seen['name']})" if seen["name"] else "")
    for row, count in seen["counts"].items():
        yield f"{count:>9,}  {ROWS[row].lower()}"
    for row, texts in sorted(seen["texts"].items(), key=lambda item: item[0] != "kept"):
        if texts:
            yield f"\n{ROWS[row]}: {len(texts)} of {seen['counts'][row]:,}"
            yield from (f"  {' '.join(text.split())}" for text in texts)
