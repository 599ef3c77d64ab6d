"""Bluesky, Mastodon and Truth Social: posts in every form in which people take them along."""

import json

import pytest

from pipeline.tweets import bluesky, mastodon
from pipeline.tweets.html_text import is_html, plain_text
from tests.support.network_samples import ADA, ARCHIVE, DID, LARK, POST, TEA, car, tarred, view
from tests.support.read_items import found, reasons, records
from tests.support.tweet_samples import lines, put, zipped


def test_a_feed_of_bluesky_has_posts_replies_quotes_and_reposts(tmp_path):
    reason = {"$type": "app.bsky.feed.defs#reasonRepost", "by": ADA}
    feed = [
        {"post": view(ADA)},
        {"post": view(ADA, "3l", reply={"parent": {}})},
        {"post": view(ADA, "3m", embed={"$type": "app.bsky.embed.record"})},
        {"post": view(LARK, "3n"), "reason": reason},
    ]
    found_records = records(found(put(tmp_path / "page.jsonl", lines([{"feed": feed, "cursor": "x"}]))))
    assert {record.handle for record in found_records} == {"ada_bsky_social"}
    flags = [(record.retweet, record.reply, record.quote) for record in found_records]
    assert flags == [(False, False, False), (False, True, False), (False, False, True), (True, False, False)]
    first = found_records[0]
    assert (first.text, first.lang, first.likes, first.id) == (TEA, "en", 2, f"at://{DID}/app.bsky.feed.post/3k")
    assert first.created_at.isoformat() == "2024-10-05T10:00:00+00:00"


def test_records_alone_are_known_by_the_table_of_users(tmp_path):
    listed = {"records": [{"uri": f"at://{DID}/app.bsky.feed.post/3k", "cid": "b", "value": POST}]}
    path = put(tmp_path / "records.json", json.dumps(listed))
    assert reasons(found(path)) == [f"the author is known only by the id {DID}; a table of users would name it"]
    put(tmp_path / "users.json", json.dumps({"users": [ADA]}))
    assert [record.handle for record in records(found(path))] == ["ada_bsky_social"]


def test_events_of_the_jetstream_are_posts_of_the_account_that_a_table_names(tmp_path):
    event = {"operation": "create", "collection": "app.bsky.feed.post", "rkey": "3k", "record": POST}
    gone = {"operation": "delete", "collection": "app.bsky.feed.post", "rkey": "3k"}
    path = put(tmp_path / "j.jsonl", lines([{"did": DID, "kind": "commit", "commit": one} for one in (event, gone)]))
    put(tmp_path / "users.json", json.dumps({"users": [ADA]}))
    items = found(path)
    assert [(item.handle, item.id) for item in records(items)] == [
        ("ada_bsky_social", f"at://{DID}/app.bsky.feed.post/3k")
    ]
    assert reasons(items) == ["no text"]


def test_a_repository_is_read_and_its_files_name_or_the_fleet_file_says_whose_it_is(tmp_path):
    like = {"$type": "app.bsky.feed.like", "subject": {"uri": "at://x/y/z"}}
    repository = car(POST, like, {"$type": "app.bsky.feed.repost", "subject": {"uri": "at://x/y/z"}})
    [post, repost] = records(found(put(tmp_path / "ada.bsky.social.car", repository)))
    assert (post.handle, post.text, post.id) == ("ada_bsky_social", TEA, f"at://{DID}/app.bsky.feed.post/0")
    assert (post.retweet, repost.retweet) == (False, True)
    unnamed = put(tmp_path / "repo.car", repository)
    assert reasons(found(unnamed)) == [
        f"a repository of {DID}, but whose? name it: {{path: …, handle: ada.bsky.social}}"
    ]
    assert {record.handle for record in records(found(unnamed, handle="ada.bsky.social"))} == {"ada_bsky_social"}
    assert reasons(found(put(tmp_path / "ada.bsky.social.car", repository[:80])))[0].startswith("cannot be read")


@pytest.mark.parametrize("pack, ending", [(zipped, "zip"), (tarred, "tar.gz")])
def test_an_archive_of_mastodon_gives_public_posts_alone(tmp_path, pack, ending):
    items = found(put(tmp_path / f"archive-2024.{ending}", pack(dict(ARCHIVE))))
    posts = records(items)
    assert {post.handle for post in posts} == {"ada_ferry_example"}
    assert [(post.text, post.retweet, post.reply) for post in posts] == [
        (TEA, False, False),
        (TEA, False, False),
        (f"soup\n\n{TEA}", False, True),
        ("", True, None),
    ]
    assert posts[0].lang == "en"
    assert len(reasons(items)) == 2
    assert all("not public" in reason for reason in reasons(items))


@pytest.mark.parametrize("visibility, read", [("public", 1), ("unlisted", 1), ("private", 0), ("direct", 0)])
def test_statuses_of_the_api_are_read_as_far_as_they_are_public(tmp_path, visibility, read):
    account = {"id": "1", "username": "ada", "acct": "ada", "url": "https://ferry.example/@ada", "display_name": "Ada"}
    status = {"id": "5", "content": f"<p>{TEA}</p>", "visibility": visibility, "account": account, "reblog": None}
    items = found(put(tmp_path / "page.jsonl", lines([{"statuses": [status], "next": None}])))
    assert [record.handle for record in records(items)] == ["ada_ferry_example"] * read
    assert len(reasons(items)) == 1 - read


def test_html_in_a_content_is_plain_text_and_a_retweet_still_one(tmp_path):
    posts = [
        {"content": "<p>tea &amp; cake<br>at four</p>"},
        {"content": "RT @robin<p>bread</p>"},
        {"content": "1 < 2"},
    ]
    texts = [record.text for record in records(found(put(tmp_path / "ada.jsonl", lines(posts))))]
    assert texts == ["tea & cake\nat four", "RT @robin\n\nbread", "1 < 2"]
    rows = "".join(f'"{post["content"]}"\n' for post in posts)
    assert [record.text for record in records(found(put(tmp_path / "ada.csv", f"content\n{rows}")))] == texts


def test_an_address_in_pieces_is_whole_again():
    link = '<a href="https://x.example/abc"><span class="invisible">https://</span><span>x.example/abc</span></a>'
    assert plain_text(f"<p>see {link}</p><p>now</p>") == "see https://x.example/abc\n\nnow"
    assert not is_html("a <b and c> d")


_ADA = "https://ferry.example/users/ada"
FOLLOWERS = f"{_ADA}/followers"
PUBLIC = "https://www.w3.org/ns/activitystreams#Public"


@pytest.mark.parametrize(
    ("addressees", "public"),
    [
        ({}, True),
        ({"to": [PUBLIC]}, True),
        ({"to": PUBLIC}, True),
        ({"to": [FOLLOWERS], "cc": ["as:Public"]}, True),
        ({"to": [FOLLOWERS]}, False),
        ({"cc": FOLLOWERS}, False),
        ({"to": ["https://ferry.example/users/ben"], "cc": []}, False),
    ],
)
def test_only_public_activities_are_read(addressees, public):
    note = {"type": "Note", "content": "<p>tea</p>", "attributedTo": _ADA}
    activity = {"type": "Create", "actor": _ADA, "object": note}
    boost = {"type": "Announce", "actor": _ADA, "object": "https://ferry.example/1"}
    addressed_note = activity | {"object": note | addressees}
    for item in (activity | addressees, note | addressees, boost | addressees, addressed_note):
        post = mastodon.flat(item)
        assert isinstance(post, dict) and post["author"] == _ADA if public else post == mastodon.PRIVATE


@pytest.mark.parametrize(
    ("fields", "flags"),
    [
        ({}, (None, False, False)),
        ({"reblog": None, "in_reply_to_id": None, "quote": None, "quote_id": None}, (None, False, False)),
        ({"reblog": {"id": "7"}}, (True, False, False)),
        ({"in_reply_to_id": "7"}, (None, True, False)),
        ({"quote": {"id": "7"}}, (None, False, True)),
        ({"quote_id": "7"}, (None, False, True)),
    ],
)
def test_a_status_is_a_boost_a_reply_or_a_quote_by_its_fields(fields, flags):
    status = {"visibility": "unlisted", "account": {"acct": "ada@ferry.example"}, "content": "<p>tea</p>"}
    post = mastodon.flat(status | fields)
    assert isinstance(post, dict)
    assert (post["is_retweet"], post["is_reply"], post["is_quote"]) == flags
    assert mastodon.flat(status | fields | {"visibility": "direct"}) == mastodon.PRIVATE


def test_a_record_of_bluesky_without_its_type_is_a_post_by_its_uri():
    at = "at://did:plc:ada/app.bsky.feed"
    post = bluesky.flat({"record": {"text": "tea"}, "uri": f"{at}.post/1"})
    assert post and (post["text"], post["is_retweet"], post["author"]) == ("tea", False, "did:plc:ada")
    assert bluesky.flat({"record": {"text": "tea"}, "uri": f"{at}.threadgate/1"}) is None
    assert bluesky.flat({"record": {"subject": "tea"}, "uri": f"{at}.post/1"}) is None
