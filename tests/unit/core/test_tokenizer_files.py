"""Tokenizer files for other programs: what changes in them, and that the tokens of a text do not."""

import json

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from pipeline.core.model_folder import SEPARATOR, ModelFolder, fetch_base
from pipeline.core.tokenizer_files import portable

TEXTS = ["My dream is 🐋, don't  you?", " é\n", "ß中文<|endoftext|>x"]


@pytest.fixture(scope="module")
def mini() -> dict[str, bytes]:
    return ModelFolder.read(fetch_base("mini")).files


def changed(mini: dict[str, bytes], **config: object) -> dict[str, bytes]:
    files = mini | {"tokenizer_config.json": json.dumps(config).encode()}
    return {name: json.loads(data) for name, data in portable(files, SEPARATOR).items() if name.endswith("config.json")}


def test_merges_are_strings_that_older_programs_read_and_the_tokens_are_the_same(mini):
    written = portable(mini, SEPARATOR)
    assert set(written) == {"tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt"}
    assert all(isinstance(merge, str) for merge in json.loads(written["tokenizer.json"])["model"]["merges"])
    before, after = (Tokenizer.from_str(files["tokenizer.json"].decode()) for files in (mini, written))
    assert [after.encode(text).ids for text in TEXTS] == [before.encode(text).ids for text in TEXTS]
    assert before.to_str() == after.to_str()


def test_vocabulary_and_merges_alone_are_the_same_tokenizer(mini, tmp_path):
    written = portable(mini, SEPARATOR)
    for name in ("vocab.json", "merges.txt"):
        (tmp_path / name).write_bytes(written[name])
    alone = Tokenizer(models.BPE.from_file(str(tmp_path / "vocab.json"), str(tmp_path / "merges.txt")))
    alone.pre_tokenizer, alone.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    whole = Tokenizer.from_str(mini["tokenizer.json"].decode())
    assert [alone.encode(text).ids for text in TEXTS[:2]] == [whole.encode(text).ids for text in TEXTS[:2]]


def test_files_that_are_made_portable_stay_as_they_are(mini):
    once = mini | portable(mini, SEPARATOR)
    assert portable(once, SEPARATOR) == {"tokenizer_config.json": once["tokenizer_config.json"]}


def test_a_class_of_transformers_5_becomes_one_that_4_knows_and_others_stay(mini):
    [config] = changed(mini, tokenizer_class="TokenizersBackend", backend="tokenizers", eos_token="<eos>").values()
    assert config == {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_input_names": ["input_ids", "attention_mask"],
        "eos_token": "<eos>",
        "pad_token": SEPARATOR,
        "padding_side": "left",
    }
    [config] = changed(mini, model_max_length=1024).values()  # as GPT-2's own
    assert config == {"model_max_length": 1024, "pad_token": SEPARATOR, "padding_side": "left"}
    [config] = changed(mini, tokenizer_class="LlamaTokenizer", pad_token="<pad>", padding_side="right").values()
    assert config == {"tokenizer_class": "LlamaTokenizer", "pad_token": "<pad>", "padding_side": "right"}


def test_a_tokenizer_without_a_form_for_older_programs_is_left_as_it_is(mini):
    words = Tokenizer(models.WordLevel({"a": 0, SEPARATOR: 1}, unk_token=SEPARATOR)).to_str().encode()
    assert set(portable({"tokenizer.json": words}, SEPARATOR)) == {"tokenizer_config.json"}
    spaced = Tokenizer(models.BPE({"a": 0, " ": 1, "a ": 2}, [("a", " ")])).to_str().encode()
    assert set(portable({"tokenizer.json": spaced}, SEPARATOR)) == {"tokenizer_config.json"}
    assert portable({"vocab.json": b"{}", "merges.txt": b""}, SEPARATOR) == {}


def test_vocabulary_files_are_not_written_for_a_tokenizer_that_they_would_not_describe(mini):
    tokenizer = json.loads(mini["tokenizer.json"])
    tokenizer["normalizer"] = {"type": "Lowercase"}
    written = portable(mini | {"tokenizer.json": json.dumps(tokenizer).encode()}, SEPARATOR)
    assert set(written) == {"tokenizer.json", "tokenizer_config.json"}
