"""What everybody sees of a bot's files: names cannot disguise anything, and no tweet is among the metrics."""

import json

from fastapi.testclient import TestClient

from serve.deployments.published import open_storage, read_entries
from serve.http.public_facts import MAX_NAME_CHARS, continuations, display_names, sample, short_metrics
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
