"""A bot as a GGUF file: read by gguf's own reader, it has the tensors, the tokens and the logits of the model."""

import json
import shutil
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoModelForCausalLM

from pipeline.core.errors import UserError
from pipeline.publish import gguf_file
from tests.support.published import fleet_of
from tests.support.serve_fleet import publish

TEXT = "The engine counts, the loom weaves; it's 12 o'clock\n and café 🤖"


@pytest.fixture(scope="module")
def read(base: Path, tmp_path_factory) -> gguf.GGUFReader:
    """The toy base as a file, as gguf reads it."""
    file = tmp_path_factory.mktemp("gguf") / "toy.gguf"
    gguf_file.write(base, file, "toy")
    return gguf.GGUFReader(file)


def field(read: gguf.GGUFReader, name: str):
    return read.fields[name].contents()


def tensors(read: gguf.GGUFReader) -> dict[str, np.ndarray]:
    return {tensor.name: np.array(tensor.data) for tensor in read.tensors}


def test_the_tensors_are_llama_cpps_for_a_gpt_2(read):
    names = {"token_embd.weight", "position_embd.weight", "output_norm.weight", "output_norm.bias"}
    for block in (0, 1):
        for part in ("attn_norm", "attn_qkv", "attn_output", "ffn_norm", "ffn_up", "ffn_down"):
            names |= {f"blk.{block}.{part}.weight", f"blk.{block}.{part}.bias"}
    found = {tensor.name: tensor for tensor in read.tensors}
    assert found.keys() == names
    shapes = {name: tuple(found[name].shape.tolist()) for name in found}  # as ggml has it: the inner dimension first
    assert shapes["token_embd.weight"] == (32, 500) and shapes["position_embd.weight"] == (32, 128)
    assert shapes["blk.0.attn_qkv.weight"] == (32, 96) and shapes["blk.1.ffn_down.weight"] == (128, 32)
    halves = {name for name, tensor in found.items() if tensor.tensor_type == gguf.GGMLQuantizationType.F16}
    assert halves == {name for name in names if name.endswith("weight") and "norm" not in name} - {
        "position_embd.weight"
    }


def test_the_keys_are_llama_cpps_for_a_gpt_2(read):
    expected = {
        "general.architecture": "gpt2",
        "general.name": "toy",
        "general.file_type": int(gguf.LlamaFileType.MOSTLY_F16),
        "gpt2.context_length": 128,
        "gpt2.embedding_length": 32,
        "gpt2.feed_forward_length": 128,
        "gpt2.block_count": 2,
        "gpt2.attention.head_count": 2,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "gpt-2",
        "tokenizer.ggml.bos_token_id": 0,
        "tokenizer.ggml.eos_token_id": 0,
        "tokenizer.ggml.add_bos_token": True,
    }
    assert {name: field(read, name) for name in expected} == expected
    assert field(read, "gpt2.attention.layer_norm_epsilon") == pytest.approx(1e-5)


def test_the_tokens_are_the_tokenizers(read, base):
    tokens, types = field(read, "tokenizer.ggml.tokens"), field(read, "tokenizer.ggml.token_type")
    assert len(tokens) == len(types) == 500
    assert tokens[0] == "<|endoftext|>" and types[0] == gguf.TokenType.CONTROL
    padding = [token.startswith("[PAD") for token in tokens]  # up to the model's vocabulary
    expected = [gguf.TokenType.UNUSED if unused else gguf.TokenType.NORMAL for unused in padding]
    assert types[1:] == expected[1:] and len(tokens) - sum(padding) > 300
    merges = [tuple(merge.split(" ")) for merge in field(read, "tokenizer.ggml.merges")]
    rebuilt = Tokenizer(models.BPE({token: number for number, token in enumerate(tokens)}, merges))
    rebuilt.pre_tokenizer, rebuilt.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    original = Tokenizer.from_file(str(base / "tokenizer.json"))
    assert rebuilt.encode(TEXT).ids == original.encode(TEXT).ids and rebuilt.decode(rebuilt.encode(TEXT).ids) == TEXT


def test_computed_as_llama_cpp_does_the_file_gives_the_models_logits(read, base):
    ids = np.array(Tokenizer.from_file(str(base / "tokenizer.json")).encode(TEXT).ids)
    with torch.no_grad():
        expected = AutoModelForCausalLM.from_pretrained(base)(torch.tensor(ids)[None]).logits[0].numpy()
    assert np.abs(_logits(tensors(read), ids) - expected).max() < 2e-3  # float16 weights


def _logits(of: dict[str, np.ndarray], ids: np.ndarray) -> np.ndarray:
    """GPT-2 in numpy, over matrices of (out, in)."""

    def linear(name: str, x: np.ndarray) -> np.ndarray:
        return x @ of[f"{name}.weight"].astype(np.float32).T + of[f"{name}.bias"]

    def norm(name: str, x: np.ndarray) -> np.ndarray:
        centered = x - x.mean(-1, keepdims=True)
        return (
            centered / np.sqrt((centered**2).mean(-1, keepdims=True) + 1e-5) * of[f"{name}.weight"] + of[f"{name}.bias"]
        )

    count, heads = len(ids), 2
    x = of["token_embd.weight"].astype(np.float32)[ids] + of["position_embd.weight"][:count]
    for block in ("blk.0", "blk.1"):
        parts = np.split(linear(f"{block}.attn_qkv", norm(f"{block}.attn_norm", x)), 3, axis=-1)
        query, key, value = (part.reshape(count, heads, -1).transpose(1, 0, 2) for part in parts)
        scores = query @ key.transpose(0, 2, 1) / np.sqrt(query.shape[-1]) + np.triu(np.full((count, count), -1e9), 1)
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        weights /= weights.sum(-1, keepdims=True)
        x = x + linear(f"{block}.attn_output", (weights @ value).transpose(1, 0, 2).reshape(count, -1))
        inner = linear(f"{block}.ffn_up", norm(f"{block}.ffn_norm", x))
        gelu = 0.5 * inner * (1 + np.tanh(np.sqrt(2 / np.pi) * (inner + 0.044715 * inner**3)))
        x = x + linear(f"{block}.ffn_down", gelu)
    return norm("output_norm", x) @ of["token_embd.weight"].astype(np.float32).T


def test_the_command_writes_one_file(base, tmp_path, huggingtweets):
    publish(tmp_path / "fleets" / "birds", base, "wren")
    fleet_of(tmp_path, ())
    path = tmp_path / "birds.yaml"
    path.write_text(json.dumps({"fleet": "birds", "tweets": ["none.csv"]}))
    code, _, err = huggingtweets("export", path, "wren", "--gguf", "--to", tmp_path / "out")
    assert code == 0 and "wren in version" in err
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["wren.gguf"]
    assert field(gguf.GGUFReader(tmp_path / "out" / "wren.gguf"), "general.name") == "wren"
    code, _, err = huggingtweets("export", path, "wren", "--gguf", "--to", tmp_path / "out")
    assert code == 2 and "the folder is not empty" in err


@pytest.mark.parametrize(
    ("part", "change", "problem"),
    [
        ("config.json", {"model_type": "llama"}, "a model of type llama"),
        ("config.json", {"activation_function": "relu"}, "no GPT-2 with this activation_function"),
        ("tokenizer.json", {"pre_tokenizer": {"type": "Whitespace"}}, "this bot has another"),
    ],
)
def test_what_llama_cpp_would_compute_otherwise_is_refused(base, tmp_path, part, change, problem):
    folder = shutil.copytree(base, tmp_path / "changed")
    (folder / part).write_text(json.dumps(json.loads((folder / part).read_text()) | change))
    with pytest.raises(UserError, match=problem):
        gguf_file.write(folder, tmp_path / "no.gguf", "no")
    assert not (tmp_path / "no.gguf").exists()
