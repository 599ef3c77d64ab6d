"""serve.no_copies: which texts are forbidden, and that the engine generates others."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from pipeline.core.errors import UserError
from pipeline.core.fleet import Fleet, load
from pipeline.core.store import Store
from pipeline.core.word_runs import RUNS_FILE, runs_file
from pipeline.evaluate.measures.copying import copying
from pipeline.operate.generate import LocalBot
from serve.engine.engine import Engine, Request
from serve.engine.no_copies import Copies
from serve.engine.parameters import Parameters
from tests.support.serve_fleet import publish

TWEETS = ["The quick brown fox jumps over the lazy dog.", "Good morning!"]


@pytest.fixture
def folder(base, tmp_path):
    return shutil.copytree(base, tmp_path / "bot")


def copies_of(folder, tweets=TWEETS) -> Copies:
    (folder / RUNS_FILE).write_bytes(runs_file(tweets))
    return Copies.of(folder)


def test_eight_words_in_a_row_are_forbidden_as_soon_as_the_last_is_there(folder):
    copies = copies_of(folder)
    assert not copies.forbids("so the quick brown fox jumps over the", ended=False)
    assert copies.forbids("So THE quick, brown fox jumps over the lazy", ended=False)
    assert not copies.forbids("the quick brown fox jumps over the crazy", ended=True)


def test_a_short_tweet_is_forbidden_as_a_whole_and_may_begin_another(folder):
    copies = copies_of(folder)
    assert copies.forbids("good morning", ended=True)
    assert not copies.forbids("good morning", ended=False)
    assert not copies.forbids("Good morning to you", ended=True) and not copies.forbids("", ended=True)


def test_a_bot_without_the_file_is_refused_rather_than_left_to_copy(folder):
    with pytest.raises(ValueError, match="needs word_runs"):
        Engine(folder, no_copies=True)
    assert Engine(folder).copies is None


def said_by(engine: Engine) -> list[str]:
    parameters = Parameters(num_return_sequences=4, seed=3, max_new_tokens=60, min_new_tokens=50, top_k=0, top_p=1)
    return ["Engine" + choice.text for choice in engine.generate([Request("Engine", parameters)])[0]]


def test_the_engine_says_what_it_says_but_for_the_copies(folder):
    free = said_by(Engine(folder))
    copies_of(folder, free)  # it was trained on what it is about to say
    assert said_by(Engine(folder)) == free
    bound = said_by(Engine(folder, no_copies=True))
    assert copying(free, free, [])["long_runs"] >= 0.5
    assert copying(bound, free, [])["long_runs"] == 0.0
    assert said_by(Engine(folder, no_copies=True)) == bound  # a seed still means one text
    copies_of(folder, ["Something quite different from all that it would ever say."])
    assert said_by(Engine(folder, no_copies=True)) == free


def test_runs_are_found_by_halving(folder):
    assert (np.diff(copies_of(folder).runs.astype(object)) > 0).all()


def test_generate_keeps_to_it_as_endpoints_do(base, make_fleet):
    free, bound = (load(make_fleet(), [f"serve.no_copies={value}"]) for value in ("false", "true"))
    storage = Path(Store.of(free).root)
    version = publish(storage, base, "ada")
    with pytest.raises(UserError, match=r"bot ada: serve\.no_copies needs word_runs"):
        LocalBot.load(bound, "ada")
    said = four_texts(free)
    (storage / "bots" / "ada" / version / RUNS_FILE).write_bytes(runs_file(said))
    assert four_texts(free) == said
    assert copying(four_texts(bound), said, [])["exact"] == 0.0


def four_texts(fleet: Fleet) -> list[str]:
    return LocalBot.load(fleet, "ada").generate("Engine", num_return_sequences=4, seed=3)
