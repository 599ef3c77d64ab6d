"""Encodes tweets as token ids, fast: each distinct word is encoded once.

    encoder = Encoder(tokenizer_json)
    encoder.encode(pl.Series(["so good and new"]))       # an Arrow list<int32>

GPT-2's byte-level BPE never merges across the words that its pre-tokenizer cuts, so the ids are the same as those of
`Tokenizer.encode`, in a fifth of the time. With other kinds of tokenizers each tweet is encoded.
"""

import json

import numpy as np
import polars as pl
import pyarrow as pa
from tokenizers import Tokenizer

# GPT-2's pattern, without its cases for several spaces: the texts here have single spaces only
_WORD = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+"
_BATCH = 20_000  # texts whose words are in memory at once
_CACHE = 200_000  # words, about 40 MB


class Encoder:
    """Encodes cleaned texts, whose words are separated by single spaces (rules.py).

    Text that spells a special token, such as <|endoftext|>, is encoded as ordinary text.
    """

    def __init__(self, tokenizer_json: str):
        self.tokenizer = Tokenizer.from_str(tokenizer_json)
        self.tokenizer.no_truncation()
        self.tokenizer.no_padding()
        self.tokenizer.encode_special_tokens = True
        self.by_words = _is_plain_byte_level(json.loads(tokenizer_json))
        self._known: dict[str, bytes] = {}  # word: its ids as int32

    def encode(self, texts: pl.Series) -> pa.ListArray:
        """Returns the token ids of each text: list<int32>."""
        parts = [self._encode(texts[start : start + _BATCH]) for start in range(0, len(texts), _BATCH)]
        return pa.concat_arrays(parts) if parts else pa.array([], pa.list_(pa.int32()))

    def _encode(self, texts: pl.Series) -> pa.ListArray:
        if not self.by_words:
            encoded = self.tokenizer.encode_batch_fast(texts.to_list(), add_special_tokens=False)
            return pa.array([one.ids for one in encoded], pa.list_(pa.int32()))
        words = texts.str.extract_all(_WORD)
        distinct = words.explode(empty_as_null=False).to_arrow().dictionary_encode()
        ids, lengths = self._ids_of(distinct.dictionary.to_pylist())
        ends = np.cumsum(lengths)
        which = distinct.indices.to_numpy()
        counts = lengths[which]  # tokens of each word of each text
        offsets = np.concatenate(([0], np.cumsum(counts)))
        # the index of each token in `ids`: the start of its word there, plus its position in the word
        places = np.repeat(ends[which] - counts - offsets[:-1], counts) + np.arange(offsets[-1])
        borders = np.concatenate(([0], np.cumsum(words.list.len().to_numpy(), dtype=np.int64)))
        return pa.ListArray.from_arrays(pa.array(offsets[borders], pa.int32()), pa.array(ids[places], pa.int32()))

    def _ids_of(self, words: list[str]) -> tuple[np.ndarray, np.ndarray]:
        """Returns the ids of these words, concatenated, and the number of ids of each word."""
        if len(self._known) > _CACHE:
            self._known.clear()
        new = [word for word in words if word not in self._known]
        for word, encoding in zip(new, self.tokenizer.encode_batch_fast(new, add_special_tokens=False), strict=True):
            self._known[word] = np.array(encoding.ids, np.int32).tobytes()
        found = [self._known[word] for word in words]
        lengths = np.fromiter(map(len, found), np.int64, len(found)) // 4
        return np.frombuffer(b"".join(found), np.int32), lengths


def _is_plain_byte_level(tokenizer: dict) -> bool:
    """Whether a tokenizer works like GPT-2's: byte-level words, BPE within each, and no other processing."""
    cut = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}
    model, added = tokenizer["model"], tokenizer.get("added_tokens") or []
    return (
        tokenizer.get("normalizer") is None
        and cut.items() <= (tokenizer.get("pre_tokenizer") or {}).items()
        and model["type"] == "BPE"
        and not any(model.get(key) for key in ("dropout", "continuing_subword_prefix", "end_of_word_suffix"))
        and all(token["special"] for token in added)
    )
