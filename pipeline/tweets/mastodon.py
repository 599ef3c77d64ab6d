"""Reads posts of Mastodon and the rest of the Fediverse: an archive's outbox, and statuses as the API returns them.

    ada = "https://ferry.example/users/ada"
    flat({"type": "Create", "actor": ada, "object": {"type": "Note", "content": "<p>tea</p>"}})
    # {"text": "tea", "author": ada, …}: the form that json_tweet.py reads

A boost is a retweet. Posts to followers or to single people are never read. A content warning is put before the text,
as on the site.
"""

from typing import Any

from pipeline.core.json_file import JsonObject
from pipeline.tweets.html_text import plain_text
from pipeline.tweets.record import FlatPost

_PUBLIC = ("https://www.w3.org/ns/activitystreams#Public", "as:Public", "Public")
_NOTES = ("Note", "Question", "Article", "Page")
_PEOPLE = ("Person", "Service", "Application", "Group", "Organization")
_OPEN = ("public", "unlisted")
PRIVATE = "a post that is not public; those for followers or single people are never read"


def flat(item: JsonObject) -> FlatPost | str | None:
    """Returns a post or boost as a flat object, the reason why it is not read, or None for any other object."""
    if item.get("type") in ("Create", "Announce", "Update") and "actor" in item:
        return _activity(item)
    if item.get("type") in _NOTES and "attributedTo" in item:
        return _activity({"type": "Create", "actor": item["attributedTo"], "object": item})
    if "visibility" in item and isinstance(item.get("account"), dict):
        return _status(item)
    return None


def is_actor(item: JsonObject) -> bool:
    """Whether an object describes an account, like an archive's actor.json."""
    return item.get("type") in _PEOPLE and "preferredUsername" in item


def _activity(item: JsonObject) -> FlatPost | str:
    note = item.get("object")
    if item["type"] == "Announce":
        if not _is_public(item):
            return PRIVATE
        return {
            "id": item.get("id"),
            "text": "",
            "created_at": item.get("published"),
            "author": item["actor"],
            "is_retweet": True,
        }
    if not isinstance(note, dict) or note.get("type") not in _NOTES:
        return "an activity that is no post"
    if not (_is_public(item) and _is_public(note)):
        return PRIVATE
    languages = note.get("contentMap")
    return {
        "id": note.get("id"),
        "text": _text(note.get("content"), note.get("summary")),
        "created_at": note.get("published") or item.get("published"),
        "lang": next(iter(languages), None) if isinstance(languages, dict) else None,
        "author": item["actor"],
        "is_retweet": False,
        "is_reply": note.get("inReplyTo") is not None,
        "is_quote": any(note.get(key) for key in ("quoteUrl", "quoteUri", "quote", "_misskey_quote")),
    }


def _is_public(item: JsonObject) -> bool:
    """Whether an activity or post is public; one without addressees is."""
    if "to" not in item and "cc" not in item:
        return True
    to = [one for key in ("to", "cc") for one in (item[key] if isinstance(item.get(key), list) else [item.get(key)])]
    return any(one in _PUBLIC for one in to)


def _status(item: JsonObject) -> FlatPost | str:
    if item["visibility"] not in _OPEN:
        return PRIVATE
    return {
        "id": item.get("uri") or item.get("id"),
        "text": _text(item.get("content"), item.get("spoiler_text")),
        "created_at": item.get("created_at"),
        "lang": item.get("language"),
        "likes": item.get("favourites_count"),
        "account": item["account"],
        "is_retweet": True if item.get("reblog") is not None else None,
        "is_reply": item.get("in_reply_to_id") is not None,
        "is_quote": item.get("quote") is not None or item.get("quote_id") is not None,
    }


def _text(content: Any, warning: Any) -> str | None:
    if not isinstance(content, str):
        return None
    text = plain_text(content)
    return f"{warning.strip()}\n\n{text}" if isinstance(warning, str) and warning.strip() else text
