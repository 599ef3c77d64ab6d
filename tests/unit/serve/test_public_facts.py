"""What everybody sees of a bot's files: names cannot disguise anything, and no tweet is among the metrics."""

import json

import pytest
from fastapi.testclient import TestClient

from serve.deployments.published import open_storage, read_entries
from serve.http.public_facts import (
    MAX_NAME_CHARS,
    continuations,
    display_names,
    openings,
    sample,
    short_metrics,
    without_lead_in,
)
from tests.support.fake_bots import SAMPLES, FakeBots, routes


def test_a_display_name_is_short_and_turns_no_text_around():
    given = {"nasa": "\u202eevil\u2066 NASA\u0000\n\u200f!", "wren": "x" * 5_000, "lark": "\u202e", "stork": 7}
    assert display_names(given) == {"nasa": "evil NASA !", "wren": "x" * MAX_NAME_CHARS}
    assert display_names({"ada": "👩\u200d🚀 Ада"}) == {"ada": "👩\u200d🚀 Ада"}
    assert display_names(["nasa"]) == display_names(None) == {}


def test_no_tweet_is_among_the_metrics_of_a_list(tmp_path):
    folder = tmp_path / "birds" / "bots" / "wren" / ("0" * 12)
    folder.mkdir(parents=True)
    metrics = {"held_out": {"loss": 3.5}, "copying": {"longest_run": 9, "longest_text": "a whole tweet of somebody"}}
    (folder / "metrics.json").write_text(json.dumps(metrics))
    (folder / "profiles.json").write_text(json.dumps({"names": {"wren": "Wren\u202e"}, "pictures": []}))
    settings = {"endpoint": "pooled", "deadline_seconds": 60, "max_queued_requests": 64, "max_replicas": 4}
    store = open_storage("birds", str(tmp_path))
    shown = read_entries(store, {"wren": {"version": "0" * 12, "settings": settings}})["wren"]
    assert shown["metrics"] == {"held_out": {"loss": 3.5}, "copying": {"longest_run": 9}}
    assert shown["names"] == {"wren": "Wren"}


def test_a_sample_is_neither_very_short_nor_very_long():
    assert sample({"samples": SAMPLES}) == "My dream is to be number one in a town of whales"
    assert (
        sample({"samples": {"": ["x" * 201, "too short", 7, "a text with\n two lines in it"]}})
        == "a text with two lines in it"
    )
    for metrics in ({}, {"samples": []}, {"samples": {"": "a text that is no list of texts"}}):
        assert sample(metrics) is None


def test_the_picture_of_a_bot_shows_texts_for_one_prompt():
    texts = ["My dream is", "My dream is tea", "My dream is rain", "My dream is snow", "My dream is fog"]
    assert continuations({"samples": {"": ["a", "b"], "My dream is": texts}}) == ("My dream is", tuple(texts[1:4]))
    for metrics in ({}, {"samples": {"": ["a", "b"]}}, {"samples": {"I": ["I think"]}}, {"samples": None}):
        assert continuations(metrics) == ("", ())


def test_a_shuffled_list_is_drawn_from_all_that_are_found():
    with TestClient(
        routes(FakeBots([*(f"lark{i}" for i in range(300)), "nasa"])), base_url="http://bots.test"
    ) as client:
        lists = [client.get("/bots", params={"q": "lark", "limit": 100, "shuffle": "true"}).json() for _ in range(2)]
        names = [[bot["name"] for bot in one["bots"]] for one in lists]
        assert all(len(set(one)) == 100 and "nasa" not in one for one in names) and names[0] != names[1]
        assert lists[0]["next"] is None
        one = client.get("/bots", params={"q": "nasa", "limit": 5, "shuffle": "true"}).json()["bots"]
        assert [bot["name"] for bot in one] == ["nasa"]


def test_a_list_shows_single_numbers():
    metrics = {
        "held_out": {"loss": 3.5, "loss_interval": [3, 4]},
        "voice": {"attributed": [["nasa", 3]]},
        "samples": SAMPLES,
    }
    assert short_metrics(metrics) == {"held_out": {"loss": 3.5}}


def test_a_list_of_bots_has_one_sample_each_and_a_bot_has_all_its_metrics():
    with TestClient(routes(FakeBots(["nasa", "wren"])), base_url="http://bots.test") as client:
        listed = client.get("/bots").json()["bots"]
        one = client.get("/bots/nasa").json()
    assert [bot["sample"] for bot in listed] == ["My dream is to be number one in a town of whales"] * 2
    assert listed[0]["metrics"]["voice"] == {"top1": 0.95} and "samples" not in listed[0]["metrics"]
    assert one["metrics"]["samples"] == SAMPLES and one["sample"] == listed[0]["sample"]


def test_bots_are_found_by_handle_and_by_display_name():
    bots = FakeBots(["billnye-nasa", "nasa", "wren"])
    bots.table["wren"]["names"] = {"wren": "Straße der Vögel"}
    with TestClient(routes(bots), base_url="http://bots.test") as client:
        found = {
            q: [bot["name"] for bot in client.get("/bots", params={"q": q}).json()["bots"]]
            for q in ("@NASA", "STRASSE", "🚀", "x")
        }
        assert found == {"@NASA": ["billnye-nasa", "nasa"], "STRASSE": ["wren"], "🚀": ["nasa"], "x": []}
        page = client.get("/bots", params={"q": "a", "limit": 2}).json()
        assert ([bot["name"] for bot in page["bots"]], page["next"]) == (["billnye-nasa", "nasa"], "nasa")
        page = client.get("/bots", params={"q": "a", "limit": 2, "cursor": "nasa"}).json()
        assert ([bot["name"] for bot in page["bots"]], page["next"]) == (["wren"], None)


def test_a_list_is_ordered_by_tweets_or_by_voice_and_its_pages_follow_each_other():
    bots = FakeBots(["dove", "lark", "nasa", "wren"])
    for name, share in {"dove": 0.2, "lark": 0.9, "nasa": 0.9}.items():
        bots.table[name]["metrics"] = {"voice": {"top1": share}}
    bots.table["wren"]["metrics"] = {}  # not measured: the last
    bots.table["nasa"]["counts"] = {"nasa": {"kept": 9_000}, "odd": None}

    def pages(order: str) -> list[str]:
        names, cursor = [], ""
        while cursor is not None:
            page = client.get("/bots", params={"order": order, "limit": 3, "cursor": cursor}).json()
            names, cursor = names + [bot["name"] for bot in page["bots"]], page["next"]
        return names

    with TestClient(routes(bots), base_url="http://bots.test") as client:
        assert pages("name") == ["dove", "lark", "nasa", "wren"]
        assert pages("voice") == ["lark", "nasa", "dove", "wren"]
        assert pages("tweets") == ["nasa", "dove", "lark", "wren"]
        for query in ({"order": "loss"}, {"order": "voice", "cursor": "nasa"}, {"order": "voice", "cursor": "1" * 20}):
            assert client.get("/bots", params=query).status_code == 422


def test_a_list_names_the_first_letters_and_shows_the_bots_of_one():
    with TestClient(routes(FakeBots(["7up", "_x", "lark", "linnet", "nasa"])), base_url="http://bots.test") as client:
        assert client.get("/bots").json()["letters"] == "7_ln"
        page = client.get("/bots", params={"letter": "L", "limit": 1}).json()
        assert ([bot["name"] for bot in page["bots"]], page["next"], page["total"]) == (["lark"], "lark", 5)
        page = client.get("/bots", params={"letter": "l", "cursor": "lark"}).json()
        assert ([bot["name"] for bot in page["bots"]], page["next"]) == (["linnet"], None)


def test_the_bot_of_a_day_is_the_same_all_day():
    with TestClient(routes(FakeBots([f"lark{i}" for i in range(300)])), base_url="http://bots.test") as client:
        days = [client.get("/bots", params={"shuffle": "daily", "limit": 3}).json()["bots"] for _ in range(2)]
    assert days[0] == days[1] and len(days[0]) == 3


@pytest.mark.parametrize(
    "text, opening",
    [
        ("Today we watch the rain over the harbour", ["Today we watch"]),
        ("  I think\nI know", ["I think I"]),
        ("Line's not for the wires", ["Line's not for"]),
        ("Сегодня мы едем домой", ["Сегодня мы едем"]),
        ("We saw Ada again", ["We saw"]),  # no name of anybody
        ("Thank you @nasa and others", ["Thank you"]),
        ("@nasa is on the moon", []),
        ("Only two", []),  # an opening has something after it
        ("Log, 0530. I took the boat", []),
        ("Counterrevolutionary misunderstandings everywhere tonight", []),
    ],
)
def test_an_opening_is_a_few_words_without_accounts_numbers_and_later_capitals(text, opening):
    assert openings({"samples": {"": [text, text], "My dream is": ["My dream is to sail away"]}}) == opening


def test_a_bot_has_at_most_four_openings_and_none_where_its_samples_cannot_be_read():
    texts = [f"We {word} the sea at night" for word in ("love", "fear", "miss", "hear", "paint")]
    assert openings({"samples": {"": [7, *texts]}}) == [f"{' '.join(text.split()[:3])}" for text in texts[:4]]
    for metrics in ({}, {"samples": []}, {"samples": {"": "We love the sea at night"}}):
        assert openings(metrics) == []


@pytest.mark.parametrize(
    "text, shown",
    [
        ("We land at noon. Watch:", "We land at noon."),
        ("Live now! Watch it here: ", "Live now!"),
        ("We did it 🎉 More:", "We did it 🎉"),
        ("That is why. Read more →", "That is why."),
        ("Watch:", "Watch:"),
        ("We land at 3: watch", "We land at 3: watch"),
        ("He says: no. Who are all of you people:", "He says: no. Who are all of you people:"),
        ("My cat @nasa Watch:", "My cat @nasa Watch:"),
    ],
)
def test_words_that_announce_a_link_are_not_shown_at_the_end_of_a_text(text, shown):
    assert without_lead_in(text) == shown


def test_a_sample_does_not_end_with_the_announcement_of_a_link():
    metrics = {"samples": {"": ["We land on Mars at noon. Watch:"]}}
    assert sample(metrics) == "We land on Mars at noon."
