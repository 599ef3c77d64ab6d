"""A base adapted to the fleet's people: bots start from it, it is made once, and who was held out gains too."""

import json
import math
from pathlib import Path

import pytest

from pipeline.base import adapt
from pipeline.core.fleet import load
from pipeline.core.store import Store
from pipeline.plan.job import open_job
from pipeline.prepare.index import load_index
from tests.support.toys import WORDS, tweets_of, write_csv

pytestmark = pytest.mark.usefixtures("cluster")


@pytest.fixture
def fleet(make_fleet, tmp_path) -> Path:
    """Two people in each of three manners of speaking, so that whoever is held out has a neighbour."""
    for handle in WORDS:
        write_csv(tmp_path / "tweets" / f"{handle}_too.csv", tweets_of(handle, 160)[30:], first_id=10_000)
    settings = {"epochs": 4, "learning_rate": 3e-3, "batch_size": 2, "workers": 2, "warmup_steps": 2}
    return make_fleet(tuple(WORDS), adapt=settings, bots=["ada", "ben"])


def test_bots_start_from_the_adapted_base_which_is_made_once(fleet, huggingtweets):
    code, out, err = huggingtweets("run", fleet, "--json")
    assert code == 0, err
    store = Store.of(load(fleet))
    [made] = store.list("work/adapted")
    metrics = json.loads(store.read(f"work/adapted/{made}/{adapt.METRICS}"))
    assert (metrics["people"], metrics["held_out_people"]) == (5, 1)
    assert metrics["held_out_loss"] < metrics["loss_before"] - 0.5
    for row in json.loads(out)["bots"]:
        assert row["metrics"]["held_out"]["base_loss"] < math.log(500) - 0.5  # the base as it was guesses among 500

    code, out, err = huggingtweets("run", fleet, "--json")
    assert code == 0, err
    assert {row["status"] for row in json.loads(out)["bots"]} == {"unchanged"}
    assert store.list("work/adapted") == [made] and "adapt 0/" not in err


def test_pretrain_from_a_base_writes_a_model_folder(fleet, huggingtweets, base, tmp_path):
    code, out, err = huggingtweets("pretrain", fleet, "--from", base, "--json")
    assert code == 0, err
    assert json.loads(out)["held_out_loss"] < json.loads(out)["loss_before"]
    from pipeline.core.model_folder import load as load_base

    network, tokenizer = load_base(tmp_path / "base")
    assert network.config.n_layer == 2 and tokenizer.decode(tokenizer.encode("Soup.")) == "Soup."
    assert "5 people" in (tmp_path / "base" / "README.md").read_text()


def test_nobody_is_both_learned_from_and_held_out_and_what_made_a_base_names_it(fleet, huggingtweets):
    assert huggingtweets("prepare", fleet)[0] == 0
    prepared = load_index(Store.of(load(fleet)))
    learning, held_out = adapt.split(prepared, 0.34)
    assert len(held_out) == 2 and {one.handle for one in [*learning, *held_out]} == set(prepared.people)
    assert adapt.split(prepared, 0.34) == (learning, held_out)
    assert not {one.handle for one in learning} & {one.handle for one in held_out}
    names = {
        adapt.identity(open_job(load(fleet, settings)), prepared)
        for settings in ([], ["adapt.epochs=1"], ["train.seed=5"], ["train.lanes=2"], ["adapt.checkpoint_minutes=1"])
    }
    assert len(names) == 3  # lanes and checkpoints make no other model
