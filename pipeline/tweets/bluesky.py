"""Reads posts of Bluesky: in feeds and author pages, as single records, and in an account's repository (a CAR file).

    flat({"author": {"handle": "ada.bsky.social"}, "record": {"$type": "app.bsky.feed.post", "text": "tea"}})
    # {"text": "tea", "author": {"handle": "ada.bsky.social"}, "is_retweet": False, …}, as json_tweet.py reads it

A repost is a retweet by the account that reposted. Records hold only the `did` of their author; pages and tables of
users give its handle. A repository does not contain the handle of its account, so the file must be named
after it (`ada.bsky.social.car`), or the fleet file must give it.
"""

import io
import re
from collections.abc import Iterator
from typing import Any

import libipld

from pipeline.core.json_file import JsonObject
from pipeline.tweets.bluesky_consent import refusal, refused_use
from pipeline.tweets.files import TweetFile
from pipeline.tweets.record import FlatPost, Reject
from pipeline.tweets.users import Users

CAR = re.compile(rb"^.{1,3}\xa2eroots", re.DOTALL)  # the first bytes of a CAR file
_POST, _REPOST = "app.bsky.feed.post", "app.bsky.feed.repost"
_MAX_CAR = 2**30  # bytes; a repository is read whole
_DEPTH = 64  # levels of a repository's tree


def flat(item: JsonObject) -> FlatPost | None:
    """Returns a post or repost, in any of Bluesky's forms, as a flat object; None for other objects."""
    reason = item.get("reason")
    if isinstance(item.get("post"), dict) and isinstance(item["post"].get("record"), dict):
        post = flat(item["post"])
        if post is None or not isinstance(reason, dict) or "repost" not in str(reason.get("$type", "")).lower():
            return post
        return post | {"author": reason.get("by"), "is_retweet": True, "id": f"repost of {post['id']}"}
    if isinstance(commit := item.get("commit"), dict) and isinstance(commit.get("record"), dict):  # of the Jetstream
        uri = f"at://{item.get('did')}/{commit.get('collection')}/{commit.get('rkey')}"
        return flat({"record": commit["record"], "did": item.get("did"), "uri": uri})
    for name in ("record", "value"):
        record = item.get(name)
        if isinstance(record, dict) and _kind(record, item) in (_POST, _REPOST):
            return _flat(record, item)
    return _flat(item, item) if item.get("$type") in (_POST, _REPOST) else None


def _kind(record: JsonObject, view: JsonObject) -> Any:
    """Returns the type of a record; if a tool left it out, the `uri` of the post shows it."""
    is_post = "text" in record and f"/{_POST}/" in str(view.get("uri"))
    return record.get("$type", _POST if is_post else None)


def _flat(record: JsonObject, view: JsonObject) -> FlatPost:
    uri = str(view.get("uri") or "")
    embed = record.get("embed")
    langs = record.get("langs")
    return {
        "id": uri or view.get("cid"),
        "text": "" if _kind(record, view) == _REPOST else record.get("text"),
        "created_at": record.get("createdAt"),
        "lang": langs[0] if isinstance(langs, list) and langs else None,
        "likes": view.get("likeCount"),
        "author": view.get("author") or view.get("did") or view.get("repo") or _repository(uri),
        "is_retweet": _kind(record, view) == _REPOST,
        "is_reply": record.get("reply") is not None,
        "is_quote": isinstance(embed, dict) and str(embed.get("$type")).startswith("app.bsky.embed.record"),
    }


def _repository(uri: str) -> str | None:
    found = re.match(r"at://([^/]+)/", uri)
    return found[1] if found else None


def records(stream: io.BufferedReader, file: TweetFile, users: Users) -> Iterator[tuple[int, Any]]:
    """Yields (number, flat post or Reject) for each post of a repository. Raises ValueError if it is broken."""
    data = stream.read(_MAX_CAR + 1)
    if len(data) > _MAX_CAR:
        raise ValueError(f"a repository of over {_MAX_CAR // 2**20} MiB")
    header, blocks = libipld.decode_car(data)
    commit = blocks.get(header["roots"][0]) if header.get("roots") else None
    if not isinstance(commit, dict) or "did" not in commit:
        raise ValueError("a CAR file, but no repository of Bluesky")
    did = str(commit["did"])
    named = file.handle if file.named or "." in file.path.rpartition("/")[2].removesuffix(".car") else None
    if (author := named or users.handle(did)) is None:
        yield 0, Reject(0, f"a repository of {did}, but whose? name it: {{path: …, handle: ada.bsky.social}}")
        return
    entries = list(_entries(blocks, commit.get("data"), 0))
    wishes = [blocks.get(cid) for key, cid in entries if key.startswith("community.lexicon.preference.ai/")]
    if (use := refused_use(wishes)) and not file.may_train_on(author):
        yield 0, Reject(0, refusal(use))
        return
    for number, (key, cid) in enumerate(entries, 1):
        record = blocks.get(cid)
        if isinstance(record, dict) and record.get("$type") in (_POST, _REPOST):
            yield number, _flat(record, {"uri": f"at://{did}/{key}"}) | {"author": author}


def _entries(blocks: dict[bytes, Any], cid: Any, depth: int) -> Iterator[tuple[str, bytes]]:
    """Yields the keys and records of a repository, which is a search tree; keys in a node share their beginnings."""
    node = blocks.get(cid) if isinstance(cid, bytes) else None
    if not isinstance(node, dict) or depth > _DEPTH:
        return
    yield from _entries(blocks, node.get("l"), depth + 1)
    key = b""
    for entry in node.get("e") or ():
        key = key[: entry["p"]] + entry["k"]
        yield key.decode("ascii", "replace"), entry["v"]
        yield from _entries(blocks, entry.get("t"), depth + 1)
