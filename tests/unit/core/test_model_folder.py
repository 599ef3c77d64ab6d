"""Model folders: what makes a base another base, and what a bot's folder holds."""

import json
import pickle
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, models

from pipeline.core import model_folder
from pipeline.core.errors import UserError
from pipeline.core.model_folder import SEPARATOR, ModelFolder

# <|endoftext|> has the id 7
VOCABULARY = {word: i for i, word in enumerate([*"abcdefg", SEPARATOR])}
TOKENIZER = Tokenizer(models.WordLevel(VOCABULARY, unk_token=SEPARATOR))
CONFIG = {"model_type": "gpt2", "n_positions": 1024, "torch_dtype": "float16", "task_specific_params": {"x": 1}}
BASE = {
    "config.json": json.dumps(CONFIG).encode(),
    "generation_config.json": b'{"temperature": 0.1, "some_leftover": 1}',
    "model.safetensors": b"base weights",
    "tokenizer.json": TOKENIZER.to_str().encode(),
    "tokenizer_config.json": b'{"tokenizer_class": "PreTrainedTokenizerFast"}',
    "merges.txt": b"a b",
    "train_defaults.json": b'{"epochs": 9}',
}


def put(folder: Path, files: dict[str, bytes]) -> Path:
    return ModelFolder(files).write(folder)


def hash_of(files: dict[str, bytes]) -> str:
    return ModelFolder(files).content_hash


def test_the_hash_of_a_base_is_that_of_its_content_in_any_order():
    assert hash_of(BASE) == hash_of(dict(reversed(BASE.items())))


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json", "merges.txt"])
def test_other_weights_configuration_or_tokenizer_are_another_base(name):
    assert hash_of(BASE | {name: b"other"}) != hash_of(BASE)
    assert hash_of({key: data for key, data in BASE.items() if key != name}) != hash_of(BASE)


def test_content_that_moves_between_files_is_another_base():
    moved = BASE | {"merges.txt": BASE["tokenizer.json"], "tokenizer.json": BASE["merges.txt"]}
    assert hash_of(moved) != hash_of(BASE)


@pytest.mark.parametrize("name", ["train_defaults.json", "generation_config.json"])
def test_settings_that_do_not_change_what_a_base_computes_leave_it_the_same(name):
    assert hash_of(BASE | {name: b"{}"}) == hash_of(BASE)


def test_a_base_is_read_without_what_does_not_belong_to_the_model(tmp_path):
    folder = put(tmp_path / "base", BASE | {"README.md": b"# hi", "pytorch_model.bin": b"a pickle"})
    (folder / "onnx").mkdir()
    assert ModelFolder.read(folder).files == BASE


def test_a_base_can_be_a_local_folder(tmp_path):
    folder = put(tmp_path / "base", BASE)
    assert model_folder.fetch_base(str(folder)) == folder


@pytest.mark.parametrize("needed", ["config.json", "model.safetensors"])
def test_a_folder_that_holds_no_model_is_refused_by_what_it_lacks(tmp_path, needed):
    folder = put(tmp_path / "base", {name: data for name, data in BASE.items() if name != needed})
    with pytest.raises(UserError, match=f"holds no {needed}"):
        model_folder.fetch_base(str(folder))


def test_a_folder_that_is_not_there_is_not_looked_for_on_the_hub(tmp_path):
    with pytest.raises(UserError, match="no such folder"):
        model_folder.fetch_base(str(tmp_path / "absent"))


def test_a_base_that_cannot_be_downloaded_is_named_with_a_way_out():
    with pytest.raises(
        UserError, match=r"base_model birds/none: no such folder, and the download .* `base_model: mini`"
    ) as caught:
        model_folder.fetch_base("birds/none")
    assert "\n" not in str(caught.value)


def test_a_folder_in_memory_has_its_tokenizer_and_the_token_between_tweets():
    base = ModelFolder(BASE)
    assert (base.tokenizer_json, base.separator) == (TOKENIZER.to_str(), 7)
    assert pickle.loads(pickle.dumps(base)).separator == 7


def test_a_tokenizer_without_an_end_of_text_token_is_refused():
    other = Tokenizer(models.WordLevel({"a": 0, "b": 1}, unk_token="a"))
    with pytest.raises(UserError, match="no end-of-text token"):
        print(ModelFolder(BASE | {"tokenizer.json": other.to_str().encode()}).separator)


def test_a_tokenizer_that_does_not_load_is_an_error_for_the_user():
    with pytest.raises(UserError, match="does not load"):
        print(ModelFolder({"config.json": b"{}"}).tokenizer_json)


def test_a_bots_folder_holds_the_new_weights_and_the_tokenizer_and_nothing_else_of_the_base():
    index = {"model.safetensors.index.json": b"{}", "model-00001-of-00002.safetensors": b"a shard"}
    files = ModelFolder(BASE | index).bot_files(b"new weights")
    assert set(files) == {
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
        "merges.txt",
    }
    assert files["model.safetensors"] == b"new weights"
    assert files["tokenizer.json"] == BASE["tokenizer.json"]


def test_a_bots_weights_are_computed_with_in_full_and_its_prompt_starts_a_tweet():
    config = json.loads(ModelFolder(BASE).bot_files(b"")["config.json"])
    assert config == {
        "model_type": "gpt2",
        "n_positions": 1024,
        "dtype": "float32",
        "prefix": "<|endoftext|>",
        "architectures": ["GPT2LMHeadModel"],
    }


def test_an_architecture_that_the_base_names_stays():
    named = BASE | {"config.json": b'{"model_type": "gpt2", "architectures": ["Mine"]}'}
    assert json.loads(ModelFolder(named).bot_files(b"")["config.json"])["architectures"] == ["Mine"]


def test_a_bot_samples_as_the_original_did():
    assert json.loads(ModelFolder(BASE).bot_files(b"")["generation_config.json"]) == {
        "do_sample": True,
        "temperature": 1.0,
        "top_p": 0.95,
        "top_k": 50,
        "min_length": 10,
        "max_length": 160,
        "bos_token_id": 7,
        "eos_token_id": 7,
        "pad_token_id": 7,
    }


def test_a_bot_on_a_short_base_says_no_more_than_the_base_can_look_at():
    short = BASE | {"config.json": b'{"n_positions": 64}'}
    assert json.loads(ModelFolder(short).bot_files(b"")["generation_config.json"])["max_length"] == 64


def test_making_a_bots_files_leaves_the_bases_as_they_were():
    base = dict(BASE)
    ModelFolder(base).bot_files(b"new")
    assert base == BASE


def test_a_bot_names_no_code_of_its_base():
    code = {"auto_map": {"AutoModelForCausalLM": "evil--modeling.Evil"}}
    base = BASE | {"config.json": json.dumps(CONFIG | code).encode()}
    base["tokenizer_config.json"] = json.dumps({"tokenizer_class": "PreTrainedTokenizerFast"} | code).encode()
    files = ModelFolder(base).bot_files(b"weights")
    assert not [name for name, data in files.items() if b"auto_map" in data]
    assert json.loads(files["tokenizer_config.json"])["tokenizer_class"] == "PreTrainedTokenizerFast"


def test_models_that_threads_load_at_once_are_loaded_one_after_another(base, monkeypatch):
    from transformers import AutoModelForCausalLM, PreTrainedModel

    loading, most = [0], [0]
    tie, from_pretrained = PreTrainedModel.tie_weights, AutoModelForCausalLM.from_pretrained

    def load(folder: Path, **options: Any) -> Any:
        loading[0] += 1
        most[0] = max(most[0], loading[0])
        time.sleep(0.05)
        model = from_pretrained(folder, **options)
        loading[0] -= 1
        return model

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", load)
    with ThreadPoolExecutor(4) as threads:
        loaded = list(threads.map(model_folder.load_model, [base] * 4))
    assert most == [1] and PreTrainedModel.tie_weights is tie
    for model in loaded:
        assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
