"""`huggingtweets detect`: whether a fleet's bots wrote a set of posts."""

import itertools
import json
import shutil
from pathlib import Path

import pytest

from pipeline.core import checksums, watermark_keys
from pipeline.core import fleet as fleets
from pipeline.core.own_code import ASSETS
from pipeline.core.signing import iso_time
from pipeline.core.store import Store
from pipeline.operate import detect
from pipeline.operate.generate import LocalBot

LONG = {"max_new_tokens": 40, "min_new_tokens": 25, "num_return_sequences": 8}


@pytest.fixture
def fleet(make_fleet, monkeypatch) -> Path:
    numbers = itertools.count()  # the same secrets each time: one of a thousand finds itself in unmarked posts
    monkeypatch.setattr(watermark_keys.secrets, "token_bytes", lambda size: next(numbers).to_bytes(size, "big"))
    path = make_fleet()
    root = Path(Store.of(fleets.load(path)).root)
    for bot in ("ada", "ben"):
        shutil.copytree(ASSETS / "mini", root / "bots" / bot / "000000000001")
        (root / "bots" / bot / "current").write_text("000000000001")
    return path


def posts_of(fleet: Path, marked: bool, bot: str = "ada") -> list[str]:
    settings = fleets.load(fleet, [f"serve.watermark={json.dumps(marked)}"])
    return LocalBot.load(settings, bot).generate("", seed=3, **LONG)


def write(path: Path, posts: list[str]) -> Path:
    path.write_text("".join(f"{post}\n" for post in posts))
    return path


def result(huggingtweets, fleet, file) -> tuple[int, dict]:
    code, out, _ = huggingtweets("detect", fleet, file, "--json")
    return code, json.loads(out)


def test_marked_posts_are_found_after_the_secret_was_renewed_too(huggingtweets, fleet, tmp_path):
    file = write(tmp_path / "posts.txt", posts_of(fleet, True))
    [key] = watermark_keys.load(store := Store.of(fleets.load(fleet)))
    watermark_keys.renew(store)
    code, found = result(huggingtweets, fleet, file)
    assert code == 0 and found["marked"] is True and found["p_value"] < 1e-6 and found["posts"] == 8
    assert found["key_created"] == iso_time(key.created) and found["tokens"] > 100
    newer = write(tmp_path / "newer.txt", posts_of(fleet, True, "ben"))
    assert newer.read_text() != file.read_text()
    code, out, _ = huggingtweets("detect", fleet, newer)
    assert code == 0 and out.startswith("marked: bots of this fleet wrote these posts, or many of them (p = ")


def test_unmarked_posts_are_not_found_and_few_may_be_missed(huggingtweets, fleet, tmp_path, monkeypatch):
    posts_of(fleet, True)
    monkeypatch.setattr(detect, "ENOUGH", 100)
    posts = posts_of(fleet, False)
    code, found = result(huggingtweets, fleet, write(tmp_path / "posts.txt", posts))
    assert (code, found["marked"], found["key_created"]) == (1, False, None) and found["p_value"] > 0.001
    few = write(tmp_path / "few.txt", posts[:1])
    code, found = result(huggingtweets, fleet, few)
    assert (code, found["marked"]) == (1, None)
    code, out, _ = huggingtweets("detect", fleet, few)
    assert code == 1 and out.startswith("cannot tell: there is too little text (p = ")


def test_posts_may_be_json_and_may_be_parts_of_the_text(huggingtweets, fleet, tmp_path):
    lines = [json.dumps({"text": f"@somebody {post[20:]}"}) for post in posts_of(fleet, True)]
    assert result(huggingtweets, fleet, write(tmp_path / "posts.jsonl", lines))[1]["marked"] is True


def test_it_says_what_is_missing(huggingtweets, fleet, make_fleet, tmp_path):
    file = write(tmp_path / "posts.txt", ["A post."])
    assert "has never marked texts; serve.watermark: true marks" in huggingtweets("detect", fleet, file)[2]
    code, _, err = huggingtweets("detect", fleet, tmp_path / "none.txt")
    assert code == 2 and "none.txt: no such file" in err
    code, _, err = huggingtweets("detect", fleet, write(tmp_path / "empty.txt", []))
    assert code == 2 and "empty.txt: no posts: the file is empty" in err
    store = Store.of(fleets.load(fleet))
    watermark_keys.renew(store)
    store.delete("bots")
    assert "no bot is published" in huggingtweets("detect", fleet, file)[2]


def test_bots_of_another_base_are_found_by_their_own_tokens(fleet, tmp_path, monkeypatch):
    """A published bot keeps its tokenizer when the fleet's base model changes; each kind is looked at once."""
    store = Store.of(fleets.load(fleet))
    assert len(detect._vocabularies(store)) == 1
    folder = Path(store.root) / "bots" / "ben" / store.current_version("ben")
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokenizer["post_processor"] = None
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    assert len(detect._vocabularies(store)) == 2
    for bot in ("ada", "ben"):  # as published bots have them; ada's and ben's are compared without reading them
        version = Path(store.root) / "bots" / bot / store.current_version(bot)
        data = {"tokenizer.json": (version / "tokenizer.json").read_bytes()}
        (version / checksums.FILE).write_bytes(checksums.of(data))
    assert len(detect._vocabularies(store)) == 2
