"""A published bot opens in programs other than ours: older versions of transformers, and CTranslate2."""

import json
import os
import pwd
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.core.model_folder import WEIGHTS, ModelFolder, fetch_base

PROMPTS = ["My dream is", "I"]
# run by each version of transformers on the same folder; the last line of its output is the answer
PROGRAM = """
import json, sys
from transformers import AutoModelForCausalLM, AutoTokenizer, __version__
folder, prompts = sys.argv[1], json.loads(sys.argv[2])
tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder)
batch = tokenizer(["<|endoftext|>" + prompt for prompt in prompts], padding=True, return_tensors="pt")
texts = tokenizer.batch_decode(model.generate(**batch, max_new_tokens=12, do_sample=False), skip_special_tokens=True)
ids = tokenizer("My dream is 🐋, don't")["input_ids"]
print(json.dumps({
    "version": __version__, "dtype": str(model.dtype), "ids": ids, "batch": batch["input_ids"].tolist(), "texts": texts,
}))
"""


@pytest.fixture(scope="module")
def bot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a bot on mini, as publishing writes it."""
    base = ModelFolder.read(fetch_base("mini"))
    return ModelFolder(base.bot_files(base.files[WEIGHTS])).write(tmp_path_factory.mktemp("bot"))


def answers(bot: Path, packages: Path | None = None) -> dict:
    """What PROGRAM prints, with the packages in this folder before the installed ones."""
    environment = os.environ | {"PYTHONPATH": str(packages)} if packages else os.environ
    command = [sys.executable, "-c", PROGRAM, str(bot), json.dumps(PROMPTS)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2_000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def today(bot: Path) -> dict:
    """The answers of the installed transformers."""
    return answers(bot)


@pytest.mark.slow
@pytest.mark.parametrize("version, tokenizers", [("4.40.2", "0.19.1"), ("4.57.1", "0.22.2")])
def test_a_bot_opens_and_answers_batches_in_an_older_transformers(bot, today, tmp_path, version, tokenizers):
    wanted = [f"transformers=={version}", f"tokenizers=={tokenizers}", "huggingface_hub==0.36.2"]
    options = ["--quiet", "--no-deps", "--no-compile", "--only-binary=:all:", "--retries=1", "--timeout=10"]
    environment = os.environ | {"HOME": pwd.getpwuid(os.getuid()).pw_dir}  # where pip's settings are
    pip = [sys.executable, "-m", "pip", "install", *options, "--target", tmp_path, *wanted]
    done = subprocess.run(pip, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"transformers {version} cannot be had from the package index: {done.stderr.strip()[-200:]}")
    assert answers(bot, tmp_path) == today | {"version": version}


def test_a_batch_is_padded_on_the_left_and_each_answer_is_that_of_its_prompt(today):
    long, short = today["batch"]
    assert short[:-1] == [0] * (len(long) - 1)
    assert [text.startswith(prompt) for text, prompt in zip(today["texts"], PROMPTS, strict=True)] == [True, True]


def test_ctranslate2_converts_a_bot_and_writes_the_same_text(bot, today, tmp_path):
    ctranslate2 = pytest.importorskip("ctranslate2")
    from ctranslate2.converters import TransformersConverter
    from transformers import AutoTokenizer

    TransformersConverter(str(bot)).convert(str(tmp_path / "converted"))
    tokenizer = AutoTokenizer.from_pretrained(bot)
    generator = ctranslate2.Generator(str(tmp_path / "converted"), intra_threads=1)
    start = ["<|endoftext|>", *tokenizer.tokenize(PROMPTS[0])]
    [result] = generator.generate_batch([start], max_length=12, sampling_topk=1, include_prompt_in_result=False)
    assert PROMPTS[0] + tokenizer.convert_tokens_to_string(result.sequences[0]) == today["texts"][0]


def test_what_vllm_and_llama_cpp_look_for_is_there(bot):
    config = json.loads((bot / "config.json").read_text())
    assert config["architectures"] == ["GPT2LMHeadModel"] and config["dtype"] == "float32"
    files = {path.name for path in bot.iterdir()}
    assert {"vocab.json", "merges.txt", "tokenizer.json", "tokenizer_config.json"} <= files
