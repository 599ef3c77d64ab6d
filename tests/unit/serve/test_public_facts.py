"""What everybody sees of a bot's files: names cannot disguise anything, and no tweet is among the metrics."""

import json

from serve.deployments.published import open_storage, read_entries
from serve.http.public_facts import MAX_NAME_CHARS, display_names


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
