"""Ray Data around readers and rules: counts, rejects, what changes and what does not."""

import gzip
import json
import random

import pytest

from pipeline import tweets
from pipeline.core.errors import UserError
from pipeline.core.fleet import load
from pipeline.core.model_folder import SEPARATOR, tokenizer_json
from pipeline.core.settings import Filters, TweetSource
from pipeline.core.store import Store, resolve
from pipeline.prepare import dataset
from pipeline.prepare.kept_tweets import load_tweets
from tests.support.plain_rules import held_out
from tests.support.toys import WORDS, tweets_of, write_csv

pytestmark = pytest.mark.usefixtures("cluster")


@pytest.fixture
def store(tmp_path):
    return Store(*resolve(str(tmp_path / "store")))


@pytest.fixture
def prepared(tmp_path, store, base):
    def run(*patterns: str, filters: Filters | None = None) -> dataset.Prepared:
        files = tweets.find([TweetSource(path=str(tmp_path / pattern)) for pattern in patterns or ("in",)])
        return dataset.prepare(files, store, tokenizer_json(base), holdout=0.1, filters=filters)

    return run


def rejects(store: Store) -> list[dict]:
    return [json.loads(line) for line in store.read("rejects.jsonl").splitlines()]


def test_people_in_files_of_their_own_and_in_common_files_come_together(tmp_path, prepared):
    texts = tweets_of("ada")
    write_csv(tmp_path / "in" / "Ada.csv", texts[:60])
    rows = [{"screen_name": "@ADA", "id": 1000 + i, "text": text} for i, text in enumerate(texts[60:])]
    rows += [{"screen_name": "ben", "id": 5000 + i, "text": text} for i, text in enumerate(tweets_of("ben"))]
    rows += [{"screen_name": "ben", "id": 9000, "text": "RT @ada: count the wheels again"}]
    rows += [{"screen_name": "ben", "id": 9001, "text": "soup &amp; https://t.co/abc"}]
    lines = "\n".join(json.dumps(row) for row in rows)
    (tmp_path / "in" / "all.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    people = prepared().people
    assert people["ada"].counts == {"downloaded": 130, "retweets": 0, "short": 0, "kept": 130}
    assert people["ben"].counts == {"downloaded": 132, "retweets": 1, "short": 1, "kept": 130}
    assert people["ada"].chars == len(SEPARATOR.join(texts))


def test_a_tweet_in_several_files_counts_once(tmp_path, prepared):
    write_csv(tmp_path / "in" / "a" / "ada.csv", tweets_of("ada")[:80], first_id=1)
    write_csv(tmp_path / "in" / "b" / "ada.csv", tweets_of("ada")[50:], first_id=51)
    assert prepared().people["ada"].counts["downloaded"] == 130


def test_the_kept_tweets_are_in_the_store_as_tokens_with_a_tenth_held_out(tmp_path, prepared, store, base):
    texts = tweets_of("ada")
    write_csv(tmp_path / "in" / "ada.csv", texts)
    person = prepared().people["ada"]
    training, held = load_tweets(store, "ada")
    assert (len(training), len(held)) == (117, 13)
    assert person.tokens == sum(len(ids) + 1 for ids in training)
    from tokenizers import Tokenizer

    decode = Tokenizer.from_str(tokenizer_json(base)).decode
    chosen = held_out([str(i + 1) for i in range(130)], 0.1)
    assert {decode(ids.tolist()) for ids in held} == {text for text, out in zip(texts, chosen, strict=True) if out}


def test_the_second_time_nothing_is_read_and_the_result_is_the_same(tmp_path, prepared):
    write_csv(tmp_path / "in" / "ada.csv", tweets_of("ada"))
    first, second = prepared(), prepared()
    assert not first.unchanged and second.unchanged
    assert second.people == first.people


def test_only_the_person_whose_tweets_changed_gets_another_digest(tmp_path, prepared):
    write_csv(tmp_path / "in" / "ada.csv", tweets_of("ada"))
    write_csv(tmp_path / "in" / "ben.csv", tweets_of("ben"))
    before = prepared().people
    write_csv(tmp_path / "in" / "ben.csv", [*tweets_of("ben"), "One more pot of soup."])
    (tmp_path / "in" / "ada.csv").rename(tmp_path / "in" / "ADA.csv")
    after = prepared().people
    assert after["ada"].digest == before["ada"].digest
    assert after["ben"].digest != before["ben"].digest


def test_bad_records_are_listed_with_file_and_line_and_the_rest_is_kept(tmp_path, prepared, store):
    good = [json.dumps({"screen_name": "ada", "text": text}) for text in tweets_of("ada")]
    bad = ['{"broken', '{"screen_name": "ada"}', '{"screen_name": "not a handle", "text": "one two three"}', "[]"]
    path = tmp_path / "in" / "mixed.jsonl"
    path.parent.mkdir()
    path.write_text("\n".join([*good[:10], *bad, *good[10:]]))
    result = prepared()
    assert result.people["ada"].counts["kept"] == 130
    assert result.rejects == 4
    assert [(row["file"], row["line"]) for row in rejects(store)] == [(str(path), line) for line in (11, 12, 13, 14)]
    assert [row["reason"].split(":")[0] for row in rejects(store)] == [
        "broken JSON",
        "no text",
        "not a handle",
        "not a JSON object",
    ]


def test_files_that_give_nothing_are_named_and_the_others_are_used(tmp_path, prepared, store):
    write_csv(tmp_path / "in" / "ada.csv", tweets_of("ada"))
    (tmp_path / "in" / "empty.csv").write_text("")
    (tmp_path / "in" / "prices.csv").write_text("item,price\nsoup,3\n")
    result = prepared("in", "missing.csv")
    reasons = {path.rpartition("/")[2]: reason for path, reason in result.problems.items()}
    assert reasons["empty.csv"] == "the file is empty"
    assert reasons["missing.csv"] == "no such file"
    assert reasons["prices.csv"].startswith("not a file of posts")
    assert {row["file"].rpartition("/")[2] for row in rejects(store)} == set(reasons)
    assert list(result.people) == ["ada"]
    assert set(result.owners.values()) == {"empty", "missing"}  # who would have a bot; prices.csv is nobody's


def test_no_tweets_at_all_is_an_error_that_names_the_files(prepared):
    with pytest.raises(UserError, match=r"missing\.csv: no such file"):
        prepared("missing.csv")


def test_people_are_the_same_however_the_chunks_fall(tmp_path, prepared, store, monkeypatch):
    rows = [{"screen_name": name, "id": i, "text": text} for name in WORDS for i, text in enumerate(tweets_of(name))]
    random.Random(0).shuffle(rows)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "all.jsonl").write_text("\n".join(map(json.dumps, [*rows, "no tweet"])))
    write_csv(tmp_path / "in" / "dora.csv", tweets_of("ada"))
    together = prepared()
    monkeypatch.setattr(dataset, "_CHUNK_BYTES", 2_000)  # everybody is in many chunks, the reject in one
    monkeypatch.setattr(dataset, "RULES", -1)
    apart = prepared()
    assert not apart.unchanged
    assert (apart.people, apart.rejects) == (together.people, 1)
    assert len(rejects(store)) == 1
    assert sum(map(len, load_tweets(store, "dora"))) == 130


def test_filters_have_rows_in_the_counts_and_make_another_digest(tmp_path, prepared):
    write_csv(tmp_path / "in" / "ada.csv", [*tweets_of("ada"), *tweets_of("ada")[:20]])
    before = prepared()
    after = prepared(filters=Filters(duplicates=False, blocked_words=["engine"]))
    counts = after.people["ada"].counts
    engine = sum("engine" in text.lower() for text in [*tweets_of("ada"), *tweets_of("ada")[:20]])
    assert (counts["downloaded"], counts["blocked_words"]) == (150, engine)
    assert counts["downloaded"] == sum(counts.values()) - counts["downloaded"]
    assert counts["duplicates"] == 20 - sum("engine" in text.lower() for text in tweets_of("ada")[:20])
    assert after.people["ada"].digest != before.people["ada"].digest
    assert prepared(filters=Filters(duplicates=False, blocked_words=["engine"])).unchanged


def test_a_preview_shows_ten_of_each_and_why(tmp_path, make_fleet, huggingtweets):
    path = make_fleet(filters={"replies": False})
    rows = [*tweets_of("ada"), "RT @ben: soup", "hm https://t.co/x", "@ben the soup is late"]
    write_csv(tmp_path / "tweets" / "ada.csv", rows)
    code, out, _ = huggingtweets("prepare", path, "--preview", "@Ada", "--json")
    seen = json.loads(out)
    assert (code, seen["handle"]) == (0, "ada")
    assert seen["counts"] == {"downloaded": 133, "retweets": 1, "short": 1, "replies": 1, "kept": 130}
    assert seen["texts"]["replies"] == ["@ben the soup is late"]
    assert len(seen["texts"]["kept"]) == 10 and set(seen["texts"]["kept"]) <= set(rows)
    code, out, _ = huggingtweets("prepare", path, "--preview", "ada")
    assert code == 0 and "Replies: 1 of 1\n  @ben the soup is late" in out and "Tweets kept: 10 of 130" in out
    code, _, err = huggingtweets("prepare", path, "--preview", "nobody")
    assert code == 1 and "no posts of @nobody" in err
    assert huggingtweets("prepare", path, "--preview", "no body")[0] == 2


def test_several_accounts_in_files_of_any_kind_are_one_person(tmp_path, store, base):
    texts = tweets_of("ada")
    write_csv(tmp_path / "in" / "ada_x.csv", texts[:70])
    rows = [{"screen_name": "Ada.Bsky.Social", "id": 900 + i, "text": text} for i, text in enumerate(texts[60:])]
    rows.append({"screen_name": "ben", "id": 5, "text": "Somebody else writes about onion soup"})
    (tmp_path / "in" / "all.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    owners = {"ada_x": "ada", "ada_bsky_social": "ada"}
    sources = [TweetSource(path=str(tmp_path / "in"))]
    people = dataset.prepare(tweets.find(sources, owners), store, tokenizer_json(base), holdout=0.1).people
    assert sorted(people) == ["ada", "ben"]
    assert people["ada"].counts == {"downloaded": 130, "retweets": 0, "short": 0, "kept": 130}  # ten were on both
    without = dataset.prepare(
        tweets.find(sources, owners, frozenset({"ada"})), store, tokenizer_json(base), holdout=0.1
    )
    assert sorted(without.people) == ["ben"]


def test_only_the_people_of_the_bots_are_kept_and_those_of_an_earlier_run_are_deleted(
    tmp_path, make_fleet, huggingtweets
):
    path = make_fleet(("ada", "ben", "cleo"))
    assert huggingtweets("prepare", path)[0] == 0
    store = Store.of(load(path))
    store.write("work/pictures/cleo", b"a face")
    path = make_fleet(("ada", "ben", "cleo"), bots=["ada", "ghost"])
    code, _, err = huggingtweets("prepare", path)
    assert code == 3 and "260 records of people who are in none of this fleet's bots" in err  # ghost has no tweets
    assert store.list("work/tweets") == ["ada.parquet"] and store.list("work/pictures") == []
    assert list(store.read_json("work/people.json")["people"]) == ["ada"]
    kept = store.read("work/tweets/ada.parquet")
    assert huggingtweets("prepare", path, "--set", "evaluate.references=['@Cleo']")[0] == 3
    assert store.list("work/tweets") == ["ada.parquet", "cleo.parquet"]
    assert store.read("work/tweets/ada.parquet") == kept
    code, _, err = huggingtweets("prepare", path, "--set", "bots=[ghost]")
    assert code == 3 and "no posts of @ghost in the fleet's files" in err
    assert store.list("work/tweets") == []
