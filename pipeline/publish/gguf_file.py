"""A bot as one GGUF file, which llama.cpp and the programs built on it (Ollama, LM Studio) open.

    write(Path("nasa"), Path("nasa.gguf"), name="nasa")         # from the model folder of a bot on a GPT-2

The tensors and keys are those of llama.cpp's GPT-2: matrices as (out, in) in float16, vectors and the position
embedding in float32, and no output matrix, since the token embedding is used. The file asks programs to put
`<|endoftext|>` before a prompt, as this project does.
"""

import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from safetensors.numpy import load_file

from pipeline.core.errors import UserError
from pipeline.core.model_folder import WEIGHTS

_TRANSPOSED = ("c_attn.weight", "c_proj.weight", "c_fc.weight")  # transformers keeps these as (in, out)
_AS_GPT2 = {"activation_function": "gelu_new", "scale_attn_weights": True, "scale_attn_by_inverse_layer_idx": False}


def write(folder: Path, file: Path, name: str) -> None:
    """Writes the model in `folder` as the file `file`; `name` is what programs show.

    Raises UserError if it is not a GPT-2 with GPT-2's kind of tokenizer.
    """
    config, tokenizer = (json.loads((folder / part).read_text()) for part in ("config.json", "tokenizer.json"))
    _check(config, tokenizer)
    writer = gguf.GGUFWriter(file, "gpt2")
    writer.add_name(name)
    writer.add_context_length(config["n_positions"])
    writer.add_embedding_length(config["n_embd"])
    writer.add_block_count(config["n_layer"])
    writer.add_feed_forward_length(config.get("n_inner") or 4 * config["n_embd"])
    writer.add_head_count(config["n_head"])
    writer.add_layer_norm_eps(config["layer_norm_epsilon"])
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    _add_tokenizer(writer, config, tokenizer)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.GPT2, config["n_layer"])
    for key, value in load_file(folder / WEIGHTS).items():
        layer, _, kind = key.rpartition(".")  # kind: weight or bias
        if layer != "lm_head":
            writer.add_tensor(f"{names[layer]}.{kind}", _array(key, value))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _check(config: dict[str, Any], tokenizer: dict[str, Any]) -> None:
    """Raises UserError for what llama.cpp would compute otherwise than transformers."""
    if config.get("model_type") != "gpt2":
        raise UserError(f"GGUF is written for GPT-2 alone; this bot is on a model of type {config.get('model_type')}")
    odd = [key for key, value in _AS_GPT2.items() if config.get(key, value) != value]
    if odd or not config.get("tie_word_embeddings", True):
        raise UserError(f"llama.cpp knows no GPT-2 with this {odd[0] if odd else 'tie_word_embeddings: false'}")
    splitter = tokenizer.get("pre_tokenizer") or {}
    splits_as_gpt2 = splitter.get("type") == "ByteLevel" and splitter.get("use_regex", True)
    if "merges" not in tokenizer["model"] or not splits_as_gpt2 or splitter.get("add_prefix_space"):
        raise UserError("GGUF is written for GPT-2's tokenizer alone (byte-level BPE); this bot has another")


def _add_tokenizer(writer: Any, config: dict[str, Any], tokenizer: dict[str, Any]) -> None:
    special = {token["id"]: token["content"] for token in tokenizer.get("added_tokens", [])}
    texts = {number: text for text, number in tokenizer["model"]["vocab"].items()} | special
    numbers = range(config["vocab_size"])
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list([texts.get(number, f"[PAD{number}]") for number in numbers])
    writer.add_token_types([_token_type(number, texts, special) for number in numbers])
    merges = tokenizer["model"]["merges"]
    writer.add_token_merges([pair if isinstance(pair, str) else " ".join(pair) for pair in merges])
    writer.add_bos_token_id(config["bos_token_id"])
    writer.add_eos_token_id(config["eos_token_id"])
    writer.add_add_bos_token(True)


def _token_type(number: int, texts: dict[int, str], special: dict[int, str]) -> gguf.TokenType:
    if number in special:
        return gguf.TokenType.CONTROL
    return gguf.TokenType.NORMAL if number in texts else gguf.TokenType.UNUSED


def _array(key: str, value: np.ndarray) -> np.ndarray:
    if key.endswith(_TRANSPOSED):
        value = value.T
    as_float32 = value.ndim == 1 or key.endswith("wpe.weight")
    return np.ascontiguousarray(value, np.float32 if as_float32 else np.float16)
