"""A person's held-out tweets as texts, for a process that does not load the pipeline.

    held_out_texts(store, "nasa", limit=500)        # ["We land at noon.", …]

`prepare` writes a person's kept tweets to `work/tweets/{handle}.parquet`, those that no bot is trained on first.
"""

from pipeline.core.store import Store


def held_out_texts(store: Store, handle: str, limit: int) -> list[str]:
    """At most `limit` of a person's held-out tweets; none if the store has no tweets of the person."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq  # loaded only where they are needed: a gateway mostly does without

    try:
        file = pq.ParquetFile(pa.BufferReader(store.read(f"work/tweets/{handle}.parquet")))
    except FileNotFoundError:
        return []
    if not file.num_row_groups:
        return []
    table = file.read_row_group(0, columns=["text", "held_out"], use_threads=False)
    texts: list[str] = pc.filter(table["text"], table["held_out"]).slice(0, limit).to_pylist()
    return texts
