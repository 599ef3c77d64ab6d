"""The package `huggingtweets` without Ray: the client, and fleets from mappings."""

import pytest

import huggingtweets
from tests.support.fake_bots import ANSWER, FakeBots, routes, serving


@pytest.fixture
def client():
    """A client of one bot that needs a key."""
    with serving(routes(FakeBots([f"bird{i:04}" for i in range(1_003)]), "a-key-of-sixteen=")) as address:
        yield lambda key: huggingtweets.client(address, key)


def test_a_client_lists_all_bots_and_its_errors_are_the_servers(client):
    asked = client("a-key-of-sixteen=")
    assert len(asked.bots()) == 1_003 and asked.bots()[-1] == "bird1002"
    assert asked.say("bird0000", "I love", seed=1) == [f"I love{ANSWER}"]
    for wrong, text in ({"temperature": -1}, "temperature"), ({"no_such": 1}, "no_such"):
        with pytest.raises(huggingtweets.Error, match=text):
            asked.say("bird0000", "I love", **wrong)
    with pytest.raises(huggingtweets.Error, match=r"/bots/%2E%2E%2Fkey|no such|not found|Not Found"):
        asked.about("../key")
    with pytest.raises(huggingtweets.Error, match="key"):
        client("another-key-here=").bots()
    with pytest.raises(huggingtweets.Error, match="no answer of a bot server"):
        huggingtweets.client("http://127.0.0.1:1").bots()


def test_a_wrong_key_of_a_fleet_is_named():
    with pytest.raises(huggingtweets.Error, match=r"fleet: train\.epoch: unknown key; did you mean `epochs`\?"):
        huggingtweets.Fleet({"fleet": "a", "tweets": ["x.csv"], "train": {"epoch": 1}})
    with pytest.raises(huggingtweets.Error, match=r"train\.epochs"):
        huggingtweets.Fleet({"fleet": "a", "tweets": ["x.csv"]}, {"train.epochs": "many"})
    given = {"fleet": "a", "tweets": ["x.csv"], "train": {"epochs": 3}}
    assert huggingtweets.Fleet(given, {"train.epochs": 2}).settings.train.epochs == 2
    assert given["train"] == {"epochs": 3}  # the caller's mapping stays as it was
