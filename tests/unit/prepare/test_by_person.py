"""From raw tweets to people, without Ray: what chunks hold, how they come together, what is written."""

import random

import numpy as np
import pyarrow as pa
import pytest

from pipeline.core.model_folder import SEPARATOR, tokenizer_json
from pipeline.core.own_code import ASSETS
from pipeline.core.settings import Filters
from pipeline.core.store import Store, resolve
from pipeline.prepare import by_person
from pipeline.prepare.by_person import finished, sampled
from pipeline.prepare.filters import TweetFilters
from pipeline.prepare.index import Person
from pipeline.prepare.kept_tweets import load_tweets, read_tweets
from pipeline.prepare.tokens import Encoder
from pipeline.prepare.verdicts import CHUNK, RAW, judged, profile_note
from pipeline.tweets import Profile
from tests.support.plain_rules import clean, held_out


@pytest.fixture
def store(tmp_path):
    return Store(*resolve(str(tmp_path / "store")))


@pytest.fixture(scope="module")
def encoder():
    return Encoder(tokenizer_json(ASSETS / "mini"))


def raw(*rows: dict) -> pa.Table:
    return pa.Table.from_pylist(
        [{"id": "", "file": 0, "account": 0, "line": i + 1} | row for i, row in enumerate(rows)], RAW
    )


def tweets_by(handle: str, count: int) -> list[dict]:
    rng = random.Random(handle)
    words = ["ferry", "soup", "wheel", "moon", "pier", "bread", "@wren", "https://t.co/x", "&amp;", "late"]
    return [
        {"handle": handle, "id": str(1000 + i), "text": " ".join(rng.choices(words, k=rng.randint(1, 9)))}
        for i in range(count)
    ]


def people_of(table: pa.Table, store: Store, filters: Filters | None = None) -> dict[str, Person]:
    return {person.handle: person for person in finished(table, store, 0.1, filters or Filters())}


def chunk(rows: list[dict], encoder: Encoder | None, filters: Filters | None = None) -> pa.Table:
    return judged(raw(*rows), TweetFilters(filters or Filters()), encoder)


def test_people_come_out_as_the_plain_rules_have_them_however_the_chunks_fall(store, encoder):
    rows = [row for handle in ("ada", "ben", "cleo") for row in tweets_by(handle, 100)]
    rows += [row | {"file": 1} for row in rows[::3]]  # the same tweets once more, in another file
    random.Random(1).shuffle(rows)
    whole = chunk(rows, encoder)
    assert whole.schema == CHUNK
    pieces = pa.concat_tables([chunk(rows[start : start + 37], encoder) for start in range(0, len(rows), 37)])
    people = people_of(pieces, store)
    assert people == people_of(whole, store)
    for handle in ("ada", "ben", "cleo"):
        plain = [(row["id"], *clean(row["text"], None)) for row in tweets_by(handle, 100)]
        kept = [(id, text) for id, verdict, text in plain if verdict == "kept"]
        short = sum(verdict == "short" for _, verdict, _ in plain)
        person = people[handle]
        assert person.counts == {"downloaded": 100, "retweets": 0, "short": short, "kept": len(kept)}
        assert person.chars == len(SEPARATOR.join(text for _, text in kept))
        training, held = load_tweets(store, handle)
        outs = held_out([id for id, _ in kept], 0.1)
        texts = sorted(text for (_, text), out in zip(kept, outs, strict=True) if out)
        decode = encoder.tokenizer.decode
        assert sorted(decode(ids.tolist()) for ids in held) == texts
        assert len(training) + len(held) == len(kept)
        assert all(ids.dtype == np.int32 for ids in training)
        assert person.tokens == sum(len(ids) + 1 for ids in training)


def test_of_a_tweet_in_two_files_the_first_files_counts(store, encoder):
    first = {"handle": "ada", "id": "7", "text": "the first of two files", "file": 0, "line": 9}
    second = {"handle": "ada", "id": "7", "text": "RT @ben: the second", "file": 1, "line": 1}
    for rows in ([first, second], [second, first]):
        assert people_of(chunk(rows, encoder), store)["ada"].counts["kept"] == 1
    assert people_of(chunk([first, second | {"handle": "ben"}], encoder), store)["ben"].counts["retweets"] == 1


def test_tweets_without_ids_all_count(store, encoder):
    rows = [{"handle": "ada", "text": "the same words again"}] * 3
    assert people_of(chunk(rows, encoder), store)["ada"].counts["kept"] == 3


def test_the_digest_is_of_what_is_kept_and_of_nothing_else(store, encoder):
    rows = tweets_by("ada", 30)
    digest = people_of(chunk(rows, encoder), store)["ada"].digest
    assert people_of(chunk([*rows[::-1], {"handle": "ada", "text": "short"}], encoder), store)["ada"].digest == digest
    assert (
        people_of(chunk([*rows, {"handle": "ada", "text": "one more for luck"}], encoder), store)["ada"].digest
        != digest
    )


def test_name_and_picture_come_from_profiles_and_a_profile_without_tweets_is_no_person(store, encoder):
    given = [Profile("ada", "Ada L."), Profile("ada", None, b"a picture"), Profile("ben", "Ben", b"another")]
    profiles = [{"handle": one.handle, "line": 0, "text": "", "note": profile_note(one)} for one in given]
    people = people_of(chunk([*tweets_by("ada", 5), *profiles], encoder), store)
    assert list(people) == ["ada"]
    assert (people["ada"].name, people["ada"].counts["downloaded"]) == ("Ada L.", 5)
    assert store.list("work/pictures") == ["ada"]
    assert store.read("work/pictures/ada") == b"a picture"


def test_filters_take_from_what_is_kept_and_counts_add_up(store, encoder):
    rows = tweets_by("ada", 60) + [
        {"handle": "ada", "text": f"the ferry is late {i % 4}", "likes": i} for i in range(40)
    ]
    filters = Filters(min_likes=10, duplicates=False)
    person = people_of(chunk(rows, encoder, filters), store, filters)["ada"]
    assert person.counts["duplicates"] == 26 and person.counts["kept"] == 4
    assert list(person.counts) == ["downloaded", "retweets", "short", "likes", "duplicates", "kept"]
    assert person.counts["downloaded"] == sum(person.counts.values()) - person.counts["downloaded"] == 100
    assert sum(map(len, load_tweets(store, "ada"))) == 4
    plain = people_of(chunk(rows, encoder), store)["ada"]
    assert (plain.counts["downloaded"], plain.counts["short"]) == (100, person.counts["short"])
    assert plain.digest != person.digest


def test_a_person_of_whom_nothing_is_kept_is_counted(store, encoder):
    person = people_of(chunk([{"handle": "ada", "text": "hm"}], encoder), store)["ada"]
    assert person.counts == {"downloaded": 1, "retweets": 0, "short": 1, "kept": 0}
    assert (person.chars, person.tokens) == (0, 0)


def test_a_sample_shows_what_came_in_for_each_row(encoder):
    rows = [{"handle": "ada", "id": str(i), "text": f"the ferry &amp; the pier {i}"} for i in range(30)]
    rows += [{"handle": "ada", "text": "RT @ben: soup"}, {"handle": "ada", "text": "hm https://t.co/x"}]
    rows += [{"handle": "ada", "text": "the ferry & the pier 3"}]
    filters = Filters(duplicates=False)
    seen = sampled(chunk(rows, None, filters), filters, 10)
    assert seen["counts"] == {"downloaded": 33, "retweets": 1, "short": 1, "duplicates": 1, "kept": 30}
    assert seen["texts"]["retweets"] == ["RT @ben: soup"]
    assert seen["texts"]["short"] == ["hm https://t.co/x"]
    assert seen["texts"]["duplicates"] == ["the ferry & the pier 3"]
    assert len(seen["texts"]["kept"]) == 10 and all("ferry & the" in text for text in seen["texts"]["kept"])


def test_what_a_person_posted_on_two_networks_counts_once_and_what_one_account_repeats_stays(store, encoder):
    morning, bell = "Good morning to all the gulls", "The harbour bell rang nine times last night"
    on_x = [
        {"handle": "ada", "id": str(i), "text": text, "account": 1} for i, text in enumerate([morning, morning, bell])
    ]
    on_bluesky = [
        {"handle": "ada", "id": "at://1", "text": bell, "account": 2},
        {"handle": "ada", "id": "at://2", "text": "Only the gulls read this over there", "account": 2},
    ]
    ben = [{"handle": "ben", "id": str(i), "text": bell} for i in range(2)]  # somebody else, with one account
    rows = [*on_bluesky, *ben, *on_x]
    people = people_of(chunk(rows, encoder), store)
    assert people["ada"].counts == {"downloaded": 4, "retweets": 0, "short": 0, "kept": 4}
    assert people["ben"].counts["kept"] == 2
    apart = pa.concat_tables([chunk(rows[:2], encoder), chunk(rows[2:], encoder)])
    assert people_of(apart, store)["ada"] == people["ada"]
    assert sampled(chunk([*on_x, *on_bluesky], None), Filters(), 9)["counts"]["kept"] == 4


def test_the_same_id_drops_a_tweet_only_where_its_text_agrees(store, encoder):
    texts = ["The ferry was late again today", "Nobody fed the gulls this morning", "The ferry was late again today"]
    rows = [{"handle": "ada", "id": "1", "text": text, "file": file} for file, text in enumerate(texts)]
    rows += [{"handle": "ada", "id": "2", "text": "RT @ben: soup", "file": file} for file in range(2)]
    rows += [{"handle": "ada", "id": "2", "text": "RT @cleo: bread"}, {"handle": "ben", "id": "1", "text": texts[1]}]
    people = people_of(chunk(rows, encoder), store)
    assert people["ada"].counts == {"downloaded": 4, "retweets": 2, "short": 0, "kept": 2}
    assert (people["ada"].same_ids, people["ben"].same_ids) == (4, 0)
    otherwise = [row | {"file": 9 - row.get("file", 0)} for row in rows]
    assert people_of(chunk(otherwise, encoder), store) == people


def test_texts_too_large_for_32_bit_offsets_give_the_same_people(store, encoder, monkeypatch):
    table = chunk([row for handle in ("ada", "ben") for row in tweets_by(handle, 100)], encoder)
    people, texts = people_of(table, store), read_tweets(store, "ben")
    monkeypatch.setattr(by_person, "_LARGE_TEXT", 0)
    assert people_of(table, store) == people
    again = read_tweets(store, "ben")
    assert (again.training, again.held_out) == (texts.training, texts.held_out)


def test_no_more_tokens_are_loaded_than_asked_for_and_always_the_same(store, encoder, monkeypatch):
    monkeypatch.setattr(by_person, "_ROW_GROUP", 20)
    people_of(chunk(tweets_by("ada", 300), encoder), store)
    whole, held_out = load_tweets(store, "ada")
    training, few = load_tweets(store, "ada", max_tokens=200)
    assert sum(len(ids) + 1 for ids in training) <= 200 < sum(len(ids) + 1 for ids in whole)
    for some, all_of_them in ((training, whole), (few, held_out)):
        assert 0 < len(some) < len(all_of_them)
        assert all(np.array_equal(*pair) for pair in zip(some, all_of_them, strict=False))
    assert [len(kind) for kind in load_tweets(store, "ada", max_tokens=1)] == [1, 1]
