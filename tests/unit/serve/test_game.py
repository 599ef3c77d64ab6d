"""The game "Which one is real?": rounds, tallies, and its routes over bots without models."""

import asyncio
import json
from pathlib import Path

import pytest

from pipeline.core.real_tweets import held_out_texts
from serve.deployments import game, saved_state
from serve.deployments.game import Game
from serve.deployments.published import open_storage
from serve.http.forms.game import TEXTS, arranged, playable
from tests.support.fake_bots import ANSWER, TWEET, FakeBots
from tests.support.registries import new_registry, put
from tests.support.serve_fleet import write_tweets

OLD, NEW = "000000000001", "000000000002"


@pytest.fixture
def bots():
    return FakeBots(["ferry", "nasa"])


def test_a_round_ends_once_and_counts_for_its_bot_alone():
    one = Game({})
    first, second = one.begin("nasa", OLD, real=2), one.begin("nasa", OLD, real=0)
    assert one.end("ferry", OLD, first, 2) is None
    assert one.end("nasa", OLD, first, 1) == {"real": 2, "found": False, "fooled": {"rounds": 1, "fooled": 1}}
    assert one.end("nasa", OLD, first, 2) is None
    assert one.end("nasa", OLD, second, 0) == {"real": 0, "found": True, "fooled": {"rounds": 2, "fooled": 1}}
    assert one.fooled("nasa", OLD) == {"rounds": 2, "fooled": 1} and one.fooled("ferry", OLD)["rounds"] == 0


def test_a_new_version_of_a_bot_begins_with_an_empty_tally():
    one = Game({"nasa": {"version": OLD, "fooled": {"rounds": 9, "fooled": 5}}})
    assert one.fooled("nasa", NEW) == {"rounds": 0, "fooled": 0}
    assert one.end("nasa", NEW, one.begin("nasa", NEW, 1), 0)["fooled"] == {"rounds": 1, "fooled": 1}


def test_a_round_of_the_last_version_takes_no_rounds_from_the_new_ones_tally():
    one = Game({})
    kept_back = one.begin("nasa", OLD, 0)
    one.end("nasa", NEW, one.begin("nasa", NEW, 0), 3)
    assert one.end("nasa", NEW, kept_back, 1) == {"real": 0, "found": False, "fooled": {"rounds": 1, "fooled": 1}}
    assert one.tallies == {"nasa": {"version": NEW, "fooled": {"rounds": 1, "fooled": 1}}}


def test_only_so_many_rounds_are_open(monkeypatch):
    monkeypatch.setattr(game, "_MAX_OPEN", 2)
    one = Game({})
    rounds = [one.begin("nasa", OLD, 0) for _ in range(3)]
    assert [one.end("nasa", OLD, round_id, 0) is not None for round_id in rounds] == [False, True, True]


def test_the_tweet_stands_anywhere_among_the_texts_nearest_to_it_in_length():
    written = ["x" * 200, "y" * 52, "z" * 49, "v" * 55, TWEET]
    rounds = [arranged(TWEET, written) for _ in range(200)]
    assert {real for _, real in rounds} == set(range(TEXTS))
    for texts, real in rounds:
        assert texts[real] == TWEET and sorted(len(text) for text in texts) == [49, 51, 52, 55]
    assert arranged(TWEET, [*written[:2], TWEET]) is None


def test_very_short_and_very_long_texts_are_no_part_of_a_round():
    assert playable(["short", "a" * 300, TWEET, f" {TWEET} ", f"{TWEET}! Watch:"]) == [TWEET, f"{TWEET}!"]


def test_a_visitor_plays_a_round(client, bots):
    begun = client.post("/bots/nasa/game").json()
    assert len(begun["texts"]) == TEXTS and begun["texts"].count(TWEET) == 1
    assert all(text.startswith(ANSWER.strip()) for text in begun["texts"] if text != TWEET)
    real = begun["texts"].index(TWEET)
    path = f"/bots/nasa/game/{begun['round']}"
    assert client.post(path, json={"pick": 4}).status_code == 422
    ended = client.post(path, json={"pick": (real + 1) % TEXTS})
    assert ended.json() == {"real": real, "found": False, "fooled": {"rounds": 1, "fooled": 1}}
    assert client.post(path, json={"pick": real}).status_code == 404
    assert client.get("/bots/nasa").json()["fooled"] == {"rounds": 1, "fooled": 1}


def test_a_fleet_without_the_game_shows_no_tweet(client, bots):
    refused = client.post("/bots/ferry/game")
    assert refused.status_code == 404 and "no game" in refused.json()["error"]["message"]
    assert bots.asked == [] and client.get("/bots/ferry").json()["fooled"] is None


def test_what_the_bot_copied_is_not_shown_as_its_own(client, bots):
    bots.tweets = [f"{ANSWER.strip()}, {i}" for i in range(12)]
    refused = client.post("/bots/nasa/game")
    assert refused.status_code == 503 and refused.headers["retry-after"] == "1"


def test_held_out_tweets_are_read_from_the_fleets_storage(tmp_path: Path):
    store = open_storage("small", str(tmp_path))
    write_tweets(store, "ada", held_out=["first", "second"], training=["trained on"])
    assert held_out_texts(store, "ada", limit=9) == ["first", "second"]
    assert held_out_texts(store, "ada", limit=1) == ["first"]
    assert held_out_texts(store, "nobody", limit=1) == []


def test_a_registry_counts_rounds_until_the_bot_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    kept: dict[str, bytes] = {}

    async def run() -> None:
        one = await new_registry(monkeypatch)
        monkeypatch.setattr(saved_state.ray_internals, "kv_put", kept.__setitem__)
        monkeypatch.setattr(saved_state.ray_internals, "kv_delete", lambda key: kept.pop(key, None))
        await put(one, str(tmp_path), "small", "pooled", OLD, game=True)
        assert one.entries["ada"]["fooled"] == {"rounds": 0, "fooled": 0}
        before = one.revision
        await one.end_round("ada", await one.begin_round("ada", 0), 3)
        assert one.entries["ada"]["fooled"] == {"rounds": 1, "fooled": 1} and one.changed_at["ada"] > before
        saved = json.loads(kept["huggingtweets:game:ada"])
        assert saved == {"version": OLD, "fooled": {"rounds": 1, "fooled": 1}}
        await put(one, str(tmp_path), "small", "pooled", OLD, game=True, max_replicas=7)  # a second deploy
        assert one.entries["ada"]["fooled"] == {"rounds": 1, "fooled": 1}
        open_round = await one.begin_round("ada", 0)
        await one.remove("small")
        assert await one.end_round("ada", open_round, 0) is None
        assert not [key for key in kept if "game" in key]
        await put(one, str(tmp_path), "small", "pooled", OLD)
        assert one.entries["ada"]["fooled"] is None

    asyncio.run(run())
