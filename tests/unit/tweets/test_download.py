"""Downloading from Bluesky and Mastodon, against a real HTTP server on loopback that plays both."""

import json
import time

import pytest

from pipeline.core.errors import UsageError
from pipeline.core.fleet import Fleet
from pipeline.core.progress import Progress
from pipeline.core.settings import TweetSource
from pipeline.tweets import Profile, Record, Reject, files_of, find, read
from pipeline.tweets.bluesky_consent import refused_use
from pipeline.tweets.download import client
from pipeline.tweets.download.accounts import parse_account, parse_accounts
from pipeline.tweets.download.fetch import fetch
from tests.support.fake_networks import FakeNetworks
from tests.support.fake_server import redirected

ACCOUNTS = {"fogwarden.bsky.social": "fogwarden_bsky_social", "@fogwarden@ferry.example": "fogwarden_ferry_example"}


@pytest.fixture
def networks(monkeypatch):
    """The servers, which all requests reach wherever they are addressed."""
    server = FakeNetworks()
    monkeypatch.setattr(client, "TimeoutAdapter", redirected(client.TimeoutAdapter, server))
    yield server
    server.stop()


def download(account, out, **options):
    with Progress() as progress:
        [row] = fetch(parse_accounts([account]), out, progress, **options)
    return row


def numbers_in(path):
    """The numbers of the posts in a file, reposts left out."""
    found = []
    for page in map(json.loads, path.open()):
        for item in page.get("feed", []):
            found += [] if "reason" in item else [int(item["post"]["uri"].rpartition("/")[2])]
        found += [int(status["id"]) for status in page.get("statuses", [])]
    return found


@pytest.mark.parametrize(
    "text, network, name, handle",
    [
        ("@NASA", "x", "nasa", "nasa"),
        ("Ada.Bsky.Social", "bluesky", "ada.bsky.social", "ada_bsky_social"),
        ("@ada.example.com", "bluesky", "ada.example.com", "ada_example_com"),
        ("@Ada@Ferry.example", "mastodon", "ada@ferry.example", "ada_ferry_example"),
        ("ada@ferry.example", "mastodon", "ada@ferry.example", "ada_ferry_example"),
    ],
)
def test_the_form_of_a_name_shows_its_network(text, network, name, handle):
    account = parse_account(text)
    assert (account.network, account.name, account.handle) == (network, name, handle)


@pytest.mark.parametrize(
    "text", ["", "@", "a b", "../etc/passwd", "a_handle_of_sixteen", "ada@127.0.0.1", "ada@localhost", "a@b@c.example"]
)
def test_invalid_accounts_are_refused(text):
    with pytest.raises(UsageError, match="is no account"):
        parse_account(text)


def test_accounts_that_would_share_a_file_are_refused():
    with pytest.raises(UsageError, match="one at a time"):
        parse_accounts(["ada.ferry.example", "ada@ferry.example"])


@pytest.mark.parametrize("account", ACCOUNTS)
def test_all_posts_and_the_picture_come_and_later_only_what_is_newer(networks, tmp_path, account):
    path = tmp_path / f"{ACCOUNTS[account]}.jsonl"
    first = download(account, tmp_path)
    assert (first.status, first.handle) == ("fetched", ACCOUNTS[account])
    assert numbers_in(path) == networks.posts
    assert (tmp_path / f".pictures/{ACCOUNTS[account]}.jpg").read_bytes() == b"a picture"
    size = path.stat().st_size
    assert download(account, tmp_path).new == 0 and path.stat().st_size == size
    networks.posts = [252, 251, *networks.posts]
    asked = len(networks.asked)
    assert download(account, tmp_path).new == 2
    assert sorted(set(numbers_in(path))) == list(range(1, 253))
    pages = [query for path, query in networks.asked[asked:] if path.endswith(("getAuthorFeed", "/statuses"))]
    assert len(pages) == 1


@pytest.mark.parametrize("account", ACCOUNTS)
def test_an_interrupted_download_continues_where_it_stopped(networks, tmp_path, account):
    path = tmp_path / f"{ACCOUNTS[account]}.jsonl"
    download(account, tmp_path)
    lines = path.read_bytes().splitlines(keepends=True)
    assert len(lines) > 2
    path.write_bytes(lines[0] + lines[1][:50])  # killed while the second page was written
    kept = len(numbers_in_page(lines[0]))
    networks.posts = [251, *networks.posts]
    assert download(account, tmp_path).new == 250 - kept
    assert download(account, tmp_path).new == 1  # what came meanwhile
    assert sorted(set(numbers_in(path))) == list(range(1, 252))


def numbers_in_page(line):
    page = json.loads(line)
    return page.get("statuses") or [item for item in page["feed"] if "reason" not in item]


@pytest.mark.parametrize("account", ACCOUNTS)
def test_rate_limits_are_waited_for_and_faults_tried_again(networks, tmp_path, account, capsys):
    reset = int(time.time()) + 2
    networks.faults = [
        lambda handler: handler.answer_json(429, {}, ratelimit_reset=str(reset)),
        lambda handler: handler.answer_json(503, {}),
        lambda handler: handler.answer(200, b"{nonsense"),
        lambda handler: handler.cut(),
    ]
    assert download(account, tmp_path).status == "fetched"
    assert time.time() >= reset
    assert "rate limit reached; waiting" in capsys.readouterr().err
    assert numbers_in(tmp_path / f"{ACCOUNTS[account]}.jsonl") == networks.posts


@pytest.mark.parametrize("account", ACCOUNTS)
def test_a_picture_that_is_cut_off_is_reported_and_the_posts_are_still_downloaded(networks, tmp_path, account, capsys):
    networks.picture = lambda handler: handler.cut()
    assert download(account, tmp_path).status == "fetched"
    assert "no picture" in capsys.readouterr().err
    assert not list(tmp_path.glob(".pictures/*"))


@pytest.mark.parametrize("account", ["nobody.bsky.social", "@nobody@ferry.example"])
def test_an_account_that_does_not_exist_fails_alone(networks, tmp_path, account):
    row = download(account, tmp_path)
    assert row.status == "failed" and ("not found" in row.reason or "no such account" in row.reason)
    assert not list(tmp_path.glob("*.jsonl"))


def test_an_account_that_opts_out_is_refused_without_consent(networks, tmp_path):
    networks.preferences = [{"preferences": {"training": {"allow": False, "updatedAt": "2025-01-01T00:00:00Z"}}}]
    row = download("fogwarden.bsky.social", tmp_path)
    assert row.status == "failed" and "not used for training" in row.reason and "--consent own" in row.reason
    assert not list(tmp_path.glob("*.jsonl"))
    assert download("fogwarden.bsky.social", tmp_path, consent=True).status == "fetched"
    pages = list(map(json.loads, (tmp_path / "fogwarden_bsky_social.jsonl").open()))
    assert all(refused_use(page["preferences"]) == "training" for page in pages)  # the readers see it too


@pytest.mark.parametrize(
    "records, use",
    [
        ([], None),
        ([{"preferences": {}}], None),
        ([{"preferences": {"training": {"allow": True}, "inference": {"allow": False}}}], None),
        ([{"preferences": {"training": {"allow": False}}}], "training"),
        ([{}, {"preferences": {"training": False}}], "training"),
        ([{"preferences": {"syntheticContent": {"allow": False}}}], "making text like them"),
        ([None, "no", {"preferences": "no"}], None),
    ],
)
def test_a_use_is_refused_where_a_record_says_no(records, use):
    assert refused_use(records) == use


def test_a_file_of_something_else_is_left_alone(networks, tmp_path):
    path = tmp_path / "fogwarden_bsky_social.jsonl"
    path.write_text('["mine"]\n')
    assert "move it away" in download("fogwarden.bsky.social", tmp_path).reason
    assert path.read_text() == '["mine"]\n'


def read_back(path, **source):
    """What the readers make of a downloaded file: (records, reasons of rejects)."""
    [file] = find([TweetSource(path=str(path), **source)])
    items = list(read(file))
    records = [item for item in items if isinstance(item, Record)]
    return records, [item.reason for item in items if isinstance(item, Reject)]


@pytest.mark.parametrize("account", ACCOUNTS)
def test_what_is_downloaded_is_read_as_its_authors(networks, tmp_path, account):
    download(account, tmp_path)
    path = tmp_path / f"{ACCOUNTS[account]}.jsonl"
    records, rejects = read_back(path)
    assert not rejects and {record.handle for record in records} == {ACCOUNTS[account]}
    assert len(records) >= 250 and any(record.retweet for record in records)
    own = [record.text for record in records if not record.retweet]
    assert own and all(text.startswith("The harbour bell rang ") for text in own)
    assert not any("<" in text for text in own)
    profiles = [item for item in read(find([TweetSource(path=str(path))])[0]) if isinstance(item, Profile)]
    assert ("Fog Warden", b"a picture") in {(one.name, one.picture) for one in profiles}


def test_readers_respect_an_opt_out_without_consent(networks, tmp_path):
    networks.preferences = [{"preferences": {"training": {"allow": False}}}]
    download("fogwarden.bsky.social", tmp_path, consent=True)
    path = tmp_path / "fogwarden_bsky_social.jsonl"
    records, rejects = read_back(path)
    assert not records and all("not used for training" in reason for reason in rejects) and len(rejects) == 251
    records, rejects = read_back(path, consent="own")
    assert len(records) == 251 and not rejects
    fleet = {"fleet": "f", "tweets": [{"path": str(path)}]}
    people = {"fog": {"accounts": ["fogwarden.bsky.social"], "consent": "own"}}
    [agreed] = files_of(Fleet(**fleet, people=people))
    [other] = files_of(Fleet(**fleet, people={"fog": {"accounts": ["gull.bsky.social"], "consent": "own"}}))
    assert sum(isinstance(item, Record) for item in read(agreed)) == 251
    assert not any(isinstance(item, Record) for item in read(other))
