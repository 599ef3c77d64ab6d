"""Small files in every format that the readers know, made here: two tweets of @wren, the second a retweet."""

import csv
import io
import json
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

TEA, SHARED = "tea &amp; cake for the ferry captain", "RT @robin: look at this nest"
WHEN, OWN, ISO = (
    datetime(2016, 5, 3, 20, 15, 31, tzinfo=UTC),
    "Tue May 03 20:15:31 +0000 2016",
    "2016-05-03T20:15:31.000Z",
)
LONG = "It was a long night on the ferry. " * 20
V1 = [
    {
        "id_str": "101",
        "full_text": TEA,
        "created_at": OWN,
        "lang": "en",
        "favorite_count": 3,
        "retweeted": False,
        "in_reply_to_status_id_str": None,
        "is_quote_status": False,
    },
    {
        "id_str": "102",
        "full_text": SHARED,
        "created_at": OWN,
        "lang": "en",
        "favorite_count": 0,
        "retweeted": False,
        "retweeted_status": {"id_str": "90", "full_text": "look at this nest"},
    },
]
V2 = [
    {
        "id": "101",
        "text": TEA,
        "author_id": "7",
        "created_at": ISO,
        "lang": "en",
        "public_metrics": {"like_count": 3},
    },
    {
        "id": "102",
        "text": SHARED,
        "author_id": "7",
        "created_at": ISO,
        "lang": "en",
        "public_metrics": {"like_count": 0},
        "referenced_tweets": [{"type": "retweeted", "id": "90"}],
    },
]
USER = {"id": "7", "username": "Wren", "name": "Jenny Wren", "profile_image_url": "https://pics.example/wren.jpg"}
V1_USER = {"id_str": "7", "screen_name": "Wren", "name": "Jenny Wren"}
OTHERS = [{"id": "90", "text": "look", "author_id": "8"}]
PAGE = {"data": V2, "includes": {"users": [USER], "tweets": OTHERS}, "meta": {}}
BOTH = {"screen_name": "Wren", "created_at": OWN, "lang": "en"}
FLAT = [
    {"id": "101", "text": TEA, "likes": 3, "is_retweet": False, **BOTH},
    {"id": "102", "text": SHARED, "likes": 0, "is_retweet": True, **BOTH},
]


def put(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def lines(rows: list[Any]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def table(rows: list[dict[str, Any]], **dialect: Any) -> str:
    sheet = io.StringIO()
    writer = csv.DictWriter(sheet, list(rows[0]), **dialect)
    writer.writeheader()
    writer.writerows(rows)
    return sheet.getvalue()


def ytd(name: str, items: list[Any]) -> str:
    return f"window.YTD.{name}.part0 = {json.dumps(items, indent=2)}\n"


def export_files() -> dict[str, str | bytes]:
    """What a download of X holds, by path."""
    tweets = [{"tweet": {**tweet, "favorite_count": str(tweet["favorite_count"])}} for tweet in V1]
    for tweet in tweets:
        tweet["tweet"].pop("retweeted_status", None)  # an export marks no retweets
    account = {"username": "Wren", "accountId": "7", "accountDisplayName": "Jenny Wren"}
    return {
        "Your archive.html": "<html></html>",
        "assets/js/app.js": "let tweets = []",
        "data/account.js": ytd("account", [{"account": account}]),
        "data/profile.js": ytd("profile", [{"profile": {"avatarMediaUrl": "https://pics.example/1/face.jpg"}}]),
        "data/profile_media/7-face.jpg": b"a picture",
        "data/tweets.js": ytd("tweets", tweets[:1]),
        "data/tweets-part1.js": ytd("tweets", tweets[1:]),
        "data/like.js": ytd("like", [{"like": {"tweetId": "5", "fullText": "not mine"}}]),
        "data/deleted-tweets.js": ytd("deleted_tweets", [{"tweet": {"id_str": "1", "full_text": "gone"}}]),
    }


def folder(root: Path, files: dict[str, str | bytes]) -> Path:
    for name, content in files.items():
        put(root / name, content)
    return root


def zipped(files: dict[str, str | bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return packed.getvalue()


def old_rows() -> list[dict[str, Any]]:
    blank = dict.fromkeys(("in_reply_to_status_id", "in_reply_to_user_id"), "")
    retweeted = ("retweeted_status_id", "retweeted_status_user_id", "retweeted_status_timestamp")
    when = {"timestamp": "2016-05-03 20:15:31 +0000", "source": "web"}
    return [
        {"tweet_id": id, **blank, **when, "text": text, **dict.fromkeys(retweeted, other), "expanded_urls": ""}
        for id, text, other in (("101", TEA, ""), ("102", SHARED, "90"))
    ]


DETAILS = 'var user_details =  {"screen_name": "Wren", "full_name": "Jenny Wren", "id": "7"}'
MONTH = [{"id_str": row["tweet_id"], "text": row["text"], "created_at": "2016-05-03 20:15:31 +0000",
          "user": {"screen_name": "Wren", "name": "Jenny Wren", "id_str": "7"}} for row in old_rows()]  # fmt: skip
MONTH[1]["retweeted_status"] = {"id_str": "90"}
GRAILBIRD = f"Grailbird.data.tweets_2016_05 = \n{json.dumps(MONTH, indent=1)}"
PARQUET = pa.BufferOutputStream()
pq.write_table(pa.Table.from_pylist(FLAT), PARQUET)

# the names are those of the documentation's table; each makes its file in a folder and gives what the fleet file says
FORMATS: dict[str, Callable[[Path], Path]] = {
    "X account export, zipped": lambda at: put(at / "twitter-2024-01-01.zip", zipped(export_files())),
    "X account export, unpacked": lambda at: folder(at / "twitter-2024-01-01", export_files()),
    "X account export, one part": lambda at: put(
        at / "wren/data/tweets.js", ytd("tweet", [{"tweet": tweet} for tweet in V1])
    ),
    "old X export, `data/js/tweets`": lambda at: folder(
        at / "old", {"data/js/user_details.js": DETAILS, "data/js/tweets/2016_05.js": GRAILBIRD, "index.html": "<html>"}
    ),
    "old X export, `tweets.csv`": lambda at: folder(
        at / "old", {"data/js/user_details.js": DETAILS, "tweets.csv": table(old_rows(), quoting=csv.QUOTE_ALL)}
    ),
    "X API v1.1, array": lambda at: put(at / "wren.json", json.dumps(V1, indent=1)),
    "X API v1.1, JSONL": lambda at: put(
        at / "timeline.jsonl", lines([{**tweet, "user": V1_USER} for tweet in V1])
    ),
    "X API v1.1 with `trim_user`": lambda at: folder(
        at / "trimmed",
        {
            "all.json": json.dumps([{**t, "user": {"id": 7, "id_str": "7"}} for t in V1]),
            "profiles.csv": "id,screen_name,name\n7,Wren,Jenny Wren\n",
        },
    ),
    "X API v2, a page": lambda at: put(at / "page.json", json.dumps(PAGE, indent=2)),
    "X API v2, a page a line (twarc2)": lambda at: put(
        at / "search.jsonl", lines([PAGE | {"data": V2[:1]}, PAGE | {"data": V2[1:]}])
    ),
    "X API v2, flattened (twarc2)": lambda at: put(at / "flat.jsonl", lines([{**t, "author": USER} for t in V2])),
    "CSV": lambda at: put(at / "wren.csv", table([{k: row[k] for k in row if k != "screen_name"} for row in FLAT])),
    "TSV": lambda at: put(at / "people.tsv", table(FLAT, delimiter="\t")),
    "JSONL": lambda at: put(at / "people.jsonl", lines(FLAT)),
    "Parquet": lambda at: put(at / "people.parquet", PARQUET.getvalue().to_pybytes()),
    "plain text": lambda at: put(at / "wren.txt", f"{TEA}\n\n{SHARED}\n"),
}  # fmt: skip
