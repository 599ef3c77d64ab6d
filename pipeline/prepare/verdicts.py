"""Judges tweets chunk by chunk, without Ray: each gets its verdict, its key and its tokens.

    chunk = judged(raw, TweetFilters(filters), encoder)     # columns of RAW in, columns of CHUNK out

A chunk holds tweets of any people in any order; by_person.py puts the chunks of each person together.
"""

import base64
import json

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.prepare import rules
from pipeline.prepare.filters import ROWS, TweetFilters
from pipeline.prepare.held_out import key_hash
from pipeline.prepare.tokens import Encoder
from pipeline.tweets import SCHEMA, Profile

VERDICTS = ["reject", "profile", *ROWS]  # the column `verdict` of a chunk has indices in this list
FIRST_TWEET = VERDICTS.index("downloaded")  # rows with this verdict or a later one are tweets
KEPT = VERDICTS.index("kept")
CHUNK = pa.schema(
    [
        ("handle", pa.string()),  # "" for a reject
        ("verdict", pa.int8()),
        ("key", pa.uint64()),  # the first eight bytes of held_out.key_hash
        ("id", pa.string()),  # "" if the format has none
        ("text", pa.string()),  # cleaned; a hash for what is left out; the note of a reject or profile
        ("tokens", pa.list_(pa.int32())),
        ("file", pa.int32()),  # its number among the files
        ("line", pa.int32()),
        ("account", pa.int32()),  # which of the person's accounts, from 1; 0 where the fleet file lists none
    ]
)
# what is read: a tweet's record, or a note: a reject as its line in rejects.jsonl (without a handle), or a profile
RAW = pa.schema([*SCHEMA, ("file", pa.int32()), ("account", pa.int32()), ("note", pa.string())])


def judged(raw: pa.Table, filters: TweetFilters, encoder: Encoder | None) -> pa.Table:
    """Returns a chunk (columns of CHUNK) with verdict, key and tokens for each row of `raw` (columns of RAW).

    Without an encoder there are no tokens, and tweets that are left out keep their original text, for previews.
    """
    frame = pl.DataFrame(pl.from_arrow(raw))
    tweets = filters(frame.with_columns(rules.judge(frame["text"], frame["retweet"])))
    kept = tweets["verdict"] == "kept"
    # tweets that are left out keep a hash of their text, so that those with the same id can be distinguished
    left_out = frame["text"] if encoder is None else frame["text"].hash().cast(pl.String)
    verdict = pl.when(pl.col("note").is_null()).then("verdict").when(pl.col("handle") == "").then(pl.lit("reject"))
    chunk = tweets.select(
        "handle",
        verdict.otherwise(pl.lit("profile")).cast(pl.Enum(VERDICTS)).to_physical(),
        _keys(tweets["id"], tweets["text"]),
        "id",
        pl.coalesce("note", pl.when(kept).then("text").otherwise(left_out)).alias("text"),
        "file",
        "line",
        "account",
    ).to_arrow()
    tokens = _tokens(tweets["text"], kept, encoder)
    return chunk.add_column(5, "tokens", tokens).cast(CHUNK)


def profile_note(profile: Profile) -> str:
    """Returns a person's profile as the `note` of a row of RAW."""
    picture = base64.b64encode(profile.picture).decode() if profile.picture else None
    note = {"name": profile.name, "picture": picture}
    return json.dumps({key: value for key, value in note.items() if value})


def profiles_in(chunk: pa.Table) -> dict[str, dict[str, str]]:
    """Returns each person's profile from the profile notes of a chunk, by handle.

    A profile has "name" and "picture" (Base64) where a file has them; of several the last counts.
    """
    found: dict[str, dict[str, str]] = {}
    notes = chunk.filter(pc.equal(chunk["verdict"], VERDICTS.index("profile")))
    for handle, note in zip(notes["handle"].to_pylist(), notes["text"].to_pylist(), strict=True):
        found.setdefault(handle, {}).update(json.loads(note))
    return found


def _keys(ids: pl.Series, texts: pl.Series) -> pl.Series:
    hashes = b"".join([key_hash(id or text)[:8] for id, text in zip(ids.to_list(), texts.to_list(), strict=True)])
    return pl.Series("key", np.frombuffer(hashes, ">u8").astype(np.uint64))


def _tokens(texts: pl.Series, kept: pl.Series, encoder: Encoder | None) -> pa.ListArray:
    """Returns the token ids of the kept texts, and [] for the others."""
    lengths, ids = np.zeros(len(texts), np.int64), pa.array([], pa.int32())
    if encoder is not None:
        encoded = encoder.encode(texts.filter(kept))
        ids = encoded.flatten()
        lengths[kept.to_numpy()] = np.diff(encoded.offsets.to_numpy())
    return pa.ListArray.from_arrays(pa.array(np.concatenate(([0], np.cumsum(lengths))), pa.int32()), ids)
