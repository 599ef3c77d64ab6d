"""Tokenizer files that programs other than the installed transformers can read.

    portable(files, SEPARATOR)          # {"tokenizer.json": b"…", "tokenizer_config.json": b"…", "vocab.json": …}

transformers 5 writes files that transformers 4 refuses: a tokenizer class of its own ("TokenizersBackend") and BPE
merges as pairs. Many converters want vocab.json and merges.txt, and batches need a padding token.
"""

import json
from collections.abc import Mapping
from typing import Any

from pipeline.core.json_file import JsonObject, json_bytes

TOKENIZER, CONFIG, VOCABULARY, MERGES = "tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt"
_ONLY_IN_5 = "TokenizersBackend"


def portable(files: Mapping[str, bytes], separator: str) -> dict[str, bytes]:
    """Returns the tokenizer files of a model folder that have to change or are missing, by name.

    The tokens of a text stay the same. `separator` becomes the padding token where the tokenizer has none. A folder
    without a tokenizer.json has files of an older form, which every program reads: for it the result is empty.
    """
    if TOKENIZER not in files:
        return {}
    written = {CONFIG: json_bytes(_config(json.loads(files.get(CONFIG, b"{}")), separator))}
    tokenizer = json.loads(files[TOKENIZER])
    model = tokenizer["model"]
    if model.get("type") != "BPE":
        return written
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]]
    if any(merge.count(" ") != 1 for merge in merges):  # a token with a space in it: only pairs can say that
        return written
    if merges != model["merges"]:
        model["merges"] = merges
        written[TOKENIZER] = _compact(tokenizer)
    if VOCABULARY not in files and MERGES not in files and _is_byte_level(tokenizer):
        written[VOCABULARY] = _compact(model["vocab"])
        written[MERGES] = "\n".join(["#version: 0.2", *merges, ""]).encode()
    return written


def _config(given: JsonObject, separator: str) -> JsonObject:
    config = dict(given)
    if config.get("tokenizer_class") == _ONLY_IN_5:
        config["tokenizer_class"] = "PreTrainedTokenizerFast"
        config.pop("backend", None)
        config.setdefault("model_input_names", ["input_ids", "attention_mask"])  # transformers 4 adds token types
    if config.get("pad_token") is None:
        config["pad_token"] = separator
    config.setdefault("padding_side", "left")  # texts are continued at their right end
    return config


def _is_byte_level(tokenizer: JsonObject) -> bool:
    """Whether vocab.json and merges.txt alone make the same tokenizer, GPT-2's kind."""
    return (tokenizer.get("pre_tokenizer") or {}).get("type") == "ByteLevel" and not tokenizer.get("normalizer")


def _compact(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
