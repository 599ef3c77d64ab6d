"""A base model from text: two workers, a folder that transformers loads, and continuing where it was stopped."""

import json

import pytest

from tests.support.toys import WORDS, tweets_of, write_csv

pytestmark = pytest.mark.usefixtures("cluster")


def test_pretraining_makes_a_base_that_bots_can_start_from_and_does_not_start_over(huggingtweets, tmp_path):
    for handle in WORDS:
        write_csv(tmp_path / "text" / f"{handle}.csv", tweets_of(handle, count=300))
    sizes = {"vocab_size": 400, "n_layer": 1, "n_head": 2, "n_embd": 32, "block_size": 32}
    recipe = {"epochs": 3, "batch_size": 2, "workers": 2, "warmup_steps": 5, "holdout": 0.1}
    pretrain = sizes | recipe | {"train_defaults": {"epochs": 3}, "learning_rate": 5e-3}
    path = tmp_path / "base.yaml"
    path.write_text(json.dumps({"fleet": "small", "tweets": "text/*.csv", "pretrain": pretrain}))
    code, out, err = huggingtweets("pretrain", path, "--json")
    assert code == 0, err
    first = json.loads(out)
    assert first["perplexity"] < 60  # of 400 tokens: the texts use few words
    card = (tmp_path / "base" / "README.md").read_text()
    assert f"perplexity {first['perplexity']:.1f}" in card and "- My dream is" in card

    from pipeline.core.fleet import load
    from pipeline.core.model_folder import load as load_base
    from pipeline.plan.job import recipe as recipe_of

    network, tokenizer = load_base(tmp_path / "base")
    assert network.config.vocab_size == 400 and tokenizer.decode(tokenizer.encode("Soup & bread.")) == "Soup & bread."
    from pipeline.core.model_folder import ModelFolder

    settings = recipe_of(load(path, ["train.learning_rate=0.5"]), ModelFolder.read(tmp_path / "base"))
    assert (settings.epochs, settings.learning_rate, settings.block_size) == (3, 0.5, 32)  # the fleet file wins

    code, out, err = huggingtweets("pretrain", path, "--json")
    assert code == 0, err
    assert json.loads(out)["perplexity"] == pytest.approx(first["perplexity"], abs=1e-3)
    assert "pretrain 25/" not in err  # nothing was trained again
