"""Errors are one clear line that names what is wrong, with an exit code that says whether the user caused it."""

import json
import os
import socket

import pytest

from pipeline.core.errors import UserError
from tests.support.serve_fleet import publish
from tests.support.toys import tweets_of, write_csv

pytestmark = pytest.mark.usefixtures("cluster")


def the_error(err: str) -> str:
    lines = [line for line in err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1 and "Traceback" not in err, err
    return lines[0]


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"trian": {}}, "trian: unknown key; did you mean `train`?"),
        ({"train": {"epoch": 3}}, "train.epoch: unknown key; did you mean `epochs`?"),
        ({"train": {"epochs": "many"}}, "train.epochs"),
        ({"tweets": None}, "tweets: missing"),
        ({"bots": ["no such handle"]}, "'no such handle' is not a handle"),
        ({"train": {"block_size": 4096}}, "train.block_size: 4096 exceeds the base model's 128 positions"),
    ],
)
def test_a_wrong_fleet_file_names_the_key_and_exits_2(make_fleet, huggingtweets, keys, told):
    code, _, err = huggingtweets("run", make_fleet(**keys))
    assert code == 2
    assert told in the_error(err)


def test_a_missing_fleet_file_exits_2(huggingtweets, tmp_path):
    code, _, err = huggingtweets("run", tmp_path / "none.yaml")
    assert code == 2 and "none.yaml: no such fleet file" in the_error(err)


def test_a_wrong_setting_exits_2(make_fleet, huggingtweets):
    code, _, err = huggingtweets("run", make_fleet(), "--set", "train.epoch=2")
    assert code == 2 and "did you mean `epochs`?" in the_error(err)


def test_a_bot_the_fleet_does_not_have_exits_2(make_fleet, huggingtweets):
    path = make_fleet()
    huggingtweets("prepare", path)
    code, _, err = huggingtweets("train", path, "--bots", "../etc")
    assert code == 2 and "no bot '../etc' in fleet toys; it has ada, ben" in the_error(err)


def test_a_base_model_that_does_not_load_is_named(make_fleet, huggingtweets, tmp_path):
    code, _, err = huggingtweets("run", make_fleet(base_model="./no-such-base"))
    assert code == 1 and "no-such-base: no such folder" in the_error(err)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "config.json").write_text("{}")
    code, _, err = huggingtweets("run", make_fleet(base_model=str(tmp_path / "broken")))
    assert code == 1 and "holds no model.safetensors" in the_error(err)


def test_weights_that_do_not_load_fail_the_bots_with_a_reason(make_fleet, huggingtweets, base, tmp_path):
    broken = tmp_path / "broken"
    broken.mkdir()
    for file in base.iterdir():
        (broken / file.name).write_bytes(file.read_bytes())
    (broken / "model.safetensors").write_bytes(b"no weights")
    path = make_fleet(("ada",), base_model=str(broken), train={"lanes": 1})
    code, out, _ = huggingtweets("run", path, "--json")
    assert code == 3
    [row] = json.loads(out)["bots"]
    assert row["status"] == "failed" and "does not load" in row["reason"]


def test_a_hub_id_without_a_network_says_what_to_do(make_fleet, huggingtweets):
    code, _, err = huggingtweets("run", make_fleet(base_model="nobody/no-such-model"))
    assert code == 1
    assert "nobody/no-such-model" in the_error(err) and "`base_model: mini` needs no network" in err


def test_no_tweets_anywhere_is_an_error_that_names_the_files(make_fleet, huggingtweets):
    code, _, err = huggingtweets("run", make_fleet(tweets=["nowhere/*.csv"]))
    assert code == 1 and "nowhere/*.csv: no file matches" in the_error(err)


def test_a_missing_file_of_one_bot_fails_that_bot_alone(make_fleet, huggingtweets, tmp_path):
    path = make_fleet(("ada",), tweets=["tweets/*.csv", "tweets/gone/zoe.csv"])
    code, out, _ = huggingtweets("prepare", path, "--json")
    assert code == 3
    rows = {row["bot"]: row for row in json.loads(out)["bots"]}
    assert rows["ada"]["status"] == "prepared"
    assert rows["zoe"]["reason"] == "no posts of @zoe: no such file"


def test_an_export_without_a_handle_asks_for_one(make_fleet, huggingtweets, tmp_path):
    tweets = [{"tweet": {"id_str": str(i), "full_text": text}} for i, text in enumerate(tweets_of("ben"))]
    export = tmp_path / "an export" / "data" / "tweets.js"
    export.parent.mkdir(parents=True)
    export.write_text(f"window.YTD.tweets.part0 = {json.dumps(tweets)}")
    path = make_fleet(("ada",), tweets=["tweets/*.csv", {"path": "an export/data/tweets.js", "handle": "@Ben"}])
    code, out, _ = huggingtweets("prepare", path, "--json")
    assert code == 0
    assert [row["bot"] for row in json.loads(out)["bots"]] == ["ada", "ben"]


@pytest.mark.skipif(not os.path.exists("/proc/self/mem"), reason="needs a folder that even root cannot write")
def test_read_only_storage_is_named_before_any_work(make_fleet, huggingtweets):
    code, _, err = huggingtweets("run", make_fleet(storage="/proc/fleets"))
    assert code == 1 and "storage /proc/fleets/toys: cannot be written" in the_error(err)


def test_a_full_disk_fails_the_bots_with_a_reason(make_fleet, huggingtweets, tmp_path, monkeypatch):
    """A store on a device that is full: what is trained cannot be written, and that is said."""
    path = make_fleet(("ada",), train={"lanes": 1, "retries": 0})
    huggingtweets("prepare", path)
    store = tmp_path / "fleets" / "toys"
    (store / "work" / "trained").mkdir(parents=True, exist_ok=True)
    (store / "work" / "trained" / "ada").write_text("a file where the folder of models should be")
    code, out, _ = huggingtweets("train", path, "--json")
    assert code == 3
    assert "its model cannot be written" in json.loads(out)["bots"][0]["reason"]


def test_a_step_before_its_turn_says_which_comes_first(make_fleet, huggingtweets):
    code, _, err = huggingtweets("train", make_fleet(name="fresh"))
    assert code == 1 and "`huggingtweets prepare` does it" in the_error(err)
    code, _, err = huggingtweets("generate", make_fleet(name="fresh"), "ada", "Engine")
    assert code == 1 and "bot ada is not published" in the_error(err)


def test_a_port_in_use_is_named(make_fleet, huggingtweets, base, tmp_path):
    path = make_fleet(("ada",))
    assert huggingtweets("prepare", path)[0] == 0
    publish(tmp_path / "fleets" / "toys", base, "ada")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, _, err = huggingtweets("deploy", path, "--set", f"serve.port={port}")
    assert code == 1 and f"127.0.0.1:{port} cannot be used" in the_error(err)


def test_more_than_a_traceback_is_kept_from_the_user_unless_asked(make_fleet, huggingtweets):
    with pytest.raises(UserError, match="no such folder"):
        huggingtweets("run", make_fleet(base_model="./no-such-base"), "--debug")


def test_broken_lines_cost_only_themselves_at_the_command_line(make_fleet, huggingtweets, tmp_path):
    write_csv(tmp_path / "tweets" / "ada.csv", tweets_of("ada"))
    (tmp_path / "tweets" / "more.jsonl").write_text('{"broken\n{"screen_name": "ben", "text": "one two three four"}\n')
    path = make_fleet(("ada",), tweets=["tweets"])
    code, out, err = huggingtweets("prepare", path, "--json")
    assert code == 0 and "1 records rejected" in err
    assert {row["bot"] for row in json.loads(out)["bots"]} == {"ada", "ben"}
