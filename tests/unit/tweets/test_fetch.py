"""Downloading, against a real HTTP server on loopback that plays the X API: pages, limits, faults."""

import json
import threading
import time
from urllib.parse import urlsplit

import pytest

from pipeline.core.errors import UserError
from pipeline.core.progress import Progress
from pipeline.core.settings import TweetSource
from pipeline.tweets import Profile, find, read
from pipeline.tweets.download import client
from pipeline.tweets.download import x as x_api
from pipeline.tweets.download.accounts import parse_accounts
from pipeline.tweets.download.fetch import fetch as download
from tests.support.fake_server import FakeHandler, FakeServer, redirected

ACCOUNTS = {
    "wren": {"id": "1", "username": "Wren", "name": "Wren", "profile_image_url": "https://pics.example/w_normal.jpg"},
    "owl": {"id": "2", "username": "owl", "name": "Owl"},
    "mole": {"id": "3", "username": "mole", "name": "Mole", "protected": True},
}


class XApi(FakeServer):
    """Tweets of made-up accounts, newest first; `faults` are played before the next answers, in order."""

    def __init__(self):
        super().__init__(Handler)
        self.tweets = {"1": list(range(1000, 1250)), "2": list(range(5000, 5030)), "3": []}
        self.faults, self.asked = [], []


class Handler(FakeHandler):
    server: XApi

    def do_GET(self):
        url = urlsplit(self.path)
        query = self.parameters()
        self.server.asked.append((url.path, query))
        if self.headers.get("Authorization") != "Bearer good" and url.path.startswith("/2/"):
            return self.answer_json(401, {"title": "Unauthorized", "status": 401})
        if self.server.faults and url.path.endswith("/tweets"):
            return self.server.faults.pop(0)(self)
        if url.path.endswith(".jpg"):
            return self.answer(200, f"picture {url.path}".encode())
        if url.path == "/2/users/by":
            return self.users(query["usernames"].split(","))
        return self.page(url.path.split("/")[3], query)

    def users(self, names):
        found = [ACCOUNTS[name] for name in names if name in ACCOUNTS]
        gone = {"ghost": "Could not find user", "crook": "User has been suspended: [crook]."}
        errors = [{"value": name, "detail": gone[name]} for name in names if name in gone]
        return self.answer_json(200, {"data": found, "errors": errors})

    def page(self, user, query):
        since, until = int(query.get("since_id", 0)), int(query.get("until_id", 10**9))
        ids = [id for id in sorted(self.server.tweets[user], reverse=True) if since < id < until]
        at, size = int(query.get("pagination_token", 0)), int(query["max_results"])
        data = [{"id": str(id), "text": f"tweet number {id} here", "author_id": user} for id in ids[at : at + size]]
        meta = {"result_count": len(data)} | ({"next_token": str(at + size)} if at + size < len(ids) else {})
        users = {"users": [account for account in ACCOUNTS.values() if account["id"] == user]}
        return self.answer_json(200, ({"data": data, "includes": users} if data else {}) | {"meta": meta})


@pytest.fixture
def x(monkeypatch):
    """The API's server, which all requests reach wherever they are addressed."""
    server = XApi()
    monkeypatch.setattr(x_api, "TimeoutAdapter", redirected(client.TimeoutAdapter, server))
    monkeypatch.setenv("X_BEARER_TOKEN", "good")
    yield server
    server.stop()


def fetch(handles, out):
    with Progress() as progress:
        return {row.handle: row for row in download(parse_accounts(handles), out, progress)}


def ids_in(path):
    return [int(tweet["id"]) for line in path.open() for tweet in json.loads(line).get("data", [])]


def test_all_pages_and_the_picture_of_every_handle_come(x, tmp_path):
    rows = fetch(["wren", "owl"], tmp_path)
    assert {name: (row.status, row.new) for name, row in rows.items()} == {
        "wren": ("fetched", 250),
        "owl": ("fetched", 30),
    }
    assert ids_in(tmp_path / "wren.jsonl") == list(range(1249, 999, -1))
    assert (tmp_path / ".pictures/wren.jpg").read_bytes() == b"picture /w_400x400.jpg"


def test_the_second_time_only_what_is_newer_is_asked_for(x, tmp_path):
    fetch(["wren"], tmp_path)
    assert fetch(["wren"], tmp_path)["wren"].new == 0
    x.tweets["1"] += [1300, 1301]
    assert fetch(["wren"], tmp_path)["wren"].new == 2
    ids = ids_in(tmp_path / "wren.jsonl")
    assert sorted(ids) == [*range(1000, 1250), 1300, 1301]
    assert [query.get("since_id") for path, query in x.asked if path.endswith("/tweets")][-1] == "1249"


@pytest.mark.parametrize("pages", [1, 2])
def test_an_interrupted_download_continues_where_it_stopped(x, tmp_path, pages):
    fetch(["wren"], tmp_path)
    path = tmp_path / "wren.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:pages]) + lines[pages][:50])  # killed while a page was written
    x.tweets["1"].append(1300)
    assert fetch(["wren"], tmp_path)["wren"].new == 250 - 100 * pages
    assert fetch(["wren"], tmp_path)["wren"].new == 1  # what came meanwhile
    assert sorted(ids_in(path)) == [*range(1000, 1250), 1300]


def test_never_more_than_the_most_recent_3200(x, tmp_path):
    x.tweets["1"] = list(range(1, 4001))
    assert fetch(["wren"], tmp_path)["wren"].new == 3200
    assert min(ids_in(tmp_path / "wren.jsonl")) == 801
    assert fetch(["wren"], tmp_path)["wren"].new == 0


def test_handles_are_downloaded_side_by_side(x, tmp_path):
    both = threading.Barrier(2, timeout=20)

    def together(handler):
        both.wait()  # until the other's request is here too
        handler.page(handler.path.split("/")[3], {"max_results": "100"})

    x.faults = [together, together]
    rows = fetch(["wren", "owl"], tmp_path)
    assert {row.status for row in rows.values()} == {"fetched"}


def test_a_rate_limit_is_waited_for_and_reported(x, tmp_path, capsys):
    reset = str(int(time.time()) + 2)
    x.faults = [lambda handler: handler.answer_json(429, {}, x_rate_limit_reset=reset)]
    assert fetch(["wren"], tmp_path)["wren"].new == 250
    assert time.time() >= int(reset)
    assert "rate limit reached; waiting" in capsys.readouterr().err


def test_failing_servers_and_cut_connections_are_tried_again(x, tmp_path):
    x.faults = [
        lambda handler: handler.answer_json(503, {}),
        Handler.cut,
        lambda handler: handler.answer(200, b"{nonsense"),
    ]
    assert fetch(["wren"], tmp_path)["wren"].new == 250
    assert len(ids_in(tmp_path / "wren.jsonl")) == 250


def test_a_server_that_keeps_failing_fails_that_handle_alone(x, tmp_path, monkeypatch):
    monkeypatch.setattr(client, "TRIES", 1)
    x.faults = [lambda handler: handler.answer_json(500, {})]
    rows = fetch(["wren", "owl"], tmp_path)
    assert sorted(row.status for row in rows.values()) == ["failed", "fetched"]
    assert "did not answer" in next(row.reason for row in rows.values() if row.reason)


def test_an_account_that_is_closed_while_its_pages_come_says_so(x, tmp_path):
    sorry = {"errors": [{"title": "Authorization Error", "detail": "Sorry, you are not authorized to see the user."}]}
    x.faults = [lambda handler: handler.answer_json(200, sorry)]
    assert fetch(["wren"], tmp_path)["wren"].reason == "X refuses: Sorry, you are not authorized to see the user."


def test_what_is_downloaded_is_read_with_name_and_picture(x, tmp_path):
    fetch(["wren"], tmp_path)
    items = [item for file in find([TweetSource(path=str(tmp_path))]) for item in read(file)]
    profiles = [item for item in items if isinstance(item, Profile)]
    assert {item.handle for item in items} == {"wren"}
    assert len(items) - len(profiles) == 250
    assert [(one.name, one.picture) for one in profiles] == [("Wren", b"picture /w_400x400.jpg")]


def test_each_failure_has_its_own_reason(x, tmp_path):
    rows = fetch(["ghost", "crook", "mole", "owl"], tmp_path)
    assert rows["ghost"].reason == "no such user"
    assert rows["crook"].reason == "is suspended"
    assert "protected" in rows["mole"].reason
    assert rows["owl"].new == 30


@pytest.mark.parametrize(
    "code, body, reason",
    [(402, {"title": "CreditsDepleted"}, "out of credits"), (429, {"title": "UsageCapExceeded"}, "used up")],
)
def test_an_account_without_credits_ends_the_download(x, tmp_path, code, body, reason):
    x.faults = [lambda handler: handler.answer_json(code, body)]
    with pytest.raises(UserError, match=reason):
        fetch(["wren"], tmp_path)


def test_a_bad_token_is_named(x, tmp_path, monkeypatch):
    monkeypatch.setenv("X_BEARER_TOKEN", "bad")
    with pytest.raises(UserError, match="bearer token"):
        fetch(["wren"], tmp_path)


def test_a_file_of_something_else_is_left_alone(x, tmp_path):
    (tmp_path / "wren.jsonl").write_text('["mine"]\n')
    assert "move it away" in fetch(["wren"], tmp_path)["wren"].reason
    assert (tmp_path / "wren.jsonl").read_text() == '["mine"]\n'


def test_the_command(x, tmp_path, monkeypatch, huggingtweets):
    monkeypatch.delenv("X_BEARER_TOKEN", raising=False)
    assert huggingtweets("fetch", "wren", "--out", tmp_path)[0] == 1
    monkeypatch.setenv("X_BEARER_TOKEN", "good")
    assert huggingtweets("fetch", "../etc/passwd", "--out", tmp_path)[0] == 2
    code, out, _ = huggingtweets("fetch", "@Wren", "ghost", "--out", tmp_path, "--json")
    assert code == 3
    assert [(row["handle"], row["new"]) for row in json.loads(out)] == [("wren", 250), ("ghost", 0)]
