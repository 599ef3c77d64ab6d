"""From an archive to a fleet file."""

import json
import shutil
from pathlib import Path

import pytest

from pipeline.core.fleet import load
from pipeline.core.own_code import ASSETS
from tests.support.toys import tweets_of, write_csv


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_an_archive_becomes_a_fleet_file_that_says_what_is_in_it(folder, huggingtweets):
    shutil.make_archive("archive", "zip", ASSETS / "sample" / "moth_at_window")
    code, _, err = huggingtweets("new", "archive.zip")
    assert code == 0
    assert "moth_at_window: 340 posts, 316 kept, 34,035 characters (little)" in err
    assert "next: huggingtweets run moth_at_window.yaml" in err
    text = (folder / "moth_at_window.yaml").read_text()
    assert "  - archive.zip" in text and "#   moth_at_window: 340 posts" in text
    fleet = load("moth_at_window.yaml")
    assert fleet.fleet == "moth_at_window" and fleet.model_fields_set >= {"storage", "base_model", "bots"}
    code, _, err = huggingtweets("new", "archive.zip")
    assert code == 2 and "moth_at_window.yaml: exists already; --out names another file" in err
    assert (folder / "moth_at_window.yaml").read_text() == text


def test_several_people_and_the_name_that_is_asked_for(folder, huggingtweets):
    write_csv(folder / "tweets" / "ada.csv", tweets_of("ada"))
    write_csv(folder / "tweets" / "007.csv", ["Far too few words of text here."])
    code, out, err = huggingtweets("new", "tweets", "--out", "42.yaml", "--json")
    assert code == 0
    found = json.loads(out)
    assert found["people"]["007"] == {"posts": 1, "kept": 1, "characters": 31}
    assert "007: 1 posts, 1 kept, 31 characters (too little for a bot)" in err
    assert load("42.yaml").fleet == "42"


def test_files_that_do_not_say_whose_they_are_take_a_handle(folder, huggingtweets):
    tweets = [{"tweet": {"id_str": str(i), "full_text": text}} for i, text in enumerate(tweets_of("ben"))]
    (folder / "data").mkdir()
    (folder / "data" / "tweets.js").write_text(f"window.YTD.tweets.part0 = {json.dumps(tweets)}")
    code, _, err = huggingtweets("new", "data/tweets.js", "--handle", "@Ben")
    assert code == 0, err
    fleet = load("ben.yaml")
    assert [source.handle for source in fleet.tweets] == ["ben"]


def test_nothing_to_read_is_an_error_and_no_file_is_written(folder, huggingtweets):
    code, _, err = huggingtweets("new", "nowhere.zip")
    assert code == 1 and "nowhere.zip" in err
    assert not list(folder.glob("*.yaml"))
