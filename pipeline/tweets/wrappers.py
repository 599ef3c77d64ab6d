"""Finds the tweets in wrapper objects: response pages, lists under a usual name or by handle, data of X's web page.

inside({"posts": [{"text": "tea"}]}).items                  # [({"text": "tea"}, None)]
inside({"wren": [{"text": "tea"}]}).items                   # [({"text": "tea"}, "wren")]
inside({"errors": [{"detail": "no such user"}]})            # "an error of the API: no such user"
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from pipeline.core.json_file import JsonObject
from pipeline.core.names import handle_of
from pipeline.tweets.columns import Columns, plain_name

DEPTH = 8  # of wrappers within wrappers
_LISTS = (
    "data",
    "statuses",
    "tweets",
    "posts",
    "results",
    "items",
    "records",
    "entries",
    "feed",
    "ordereditems",
    "timeline",
    "toots",
    "children",
)
_SINGLE = ("tweet", "post", "status")  # the value of one of these keys is the tweet
_WEB_DEPTH = 40
# keys that could be handles but name parts of a data set
_WORDS = {"train", "test", "validation", "valid", "dev", "own", "replies", "retweets", "quotes", "likes", "originals"}
_WORDS |= {
    "comments",
    "submissions",
    "saved",
    "upvoted",
    "messages",
    "texts",
    "captions",
    "sentences",
    "lines",
    "samples",
}
_WORDS |= {"ancestors", "descendants", "threads", "reposts", "pinned", "favorites", "favourites", "bookmarks", "notes"}
_WORDS |= {"articles", "stories", "examples", "inputs", "outputs", "responses", "prompts", "originals", "mentions"}
_WORDS |= {"january", "february", "march", "april", "may", "june", "july", "august", "september", "october"}
_WORDS |= {"november", "december", "positive", "negative", "neutral", "deleted", "drafts", "archive", "unknown"}


class Inside(NamedTuple):
    """The content of a wrapper: tweets, and accounts that it lists beside them."""

    items: list[tuple[Any, Any]]  # pairs of an object and its author (None if the wrapper names none)
    users: Sequence[JsonObject] = ()
    left_out: Sequence[str] = ()  # names of further lists of tweets, whose authors are unknown


def is_wrapper(item: JsonObject) -> bool:
    """Whether an object, which may look like an account, holds a list of posts."""
    return any(isinstance(value, list) and plain_name(name) in _LISTS for name, value in item.items())


def inside(item: JsonObject) -> Inside | str | None:
    """Returns the objects in a wrapper, the reason why it holds none, or None if `item` is not a wrapper."""
    for name in _SINGLE:
        if isinstance(item.get(name), dict):
            return Inside([(item[name], item.get("author") or item.get("user"))])
    users = _users(item)
    if (tweets := list(_web(item))) and not is_wrapper(item):
        return Inside(tweets, users)
    names = [name for name in item if plain_name(name) in _LISTS]
    if names:
        others = [name for name, value in item.items() if name not in names and _is_list_of_tweets(value)]
        return Inside([(one, None) for name in names for one in _objects(item[name])], users, others)
    if users:
        return Inside([], users)
    if isinstance(item.get("errors"), list):
        first = item["errors"][0] if item["errors"] else {}
        text = first.get("detail") or first.get("message") or first.get("title") if isinstance(first, dict) else first
        return f"an error of the API: {str(text)[:80]}"
    if isinstance(item.get("meta"), dict) and "result_count" in item["meta"]:
        return Inside([], users)  # a page without tweets
    return _by_handle(item)


def _objects(value: Any) -> list[Any]:
    if isinstance(value, dict) and value and all(map(str.isdecimal, value)):
        return list(value.values())  # an object of tweets by their ids
    return value if isinstance(value, list) else [value]


def _users(item: JsonObject) -> list[JsonObject]:
    includes = item.get("includes")
    found = [includes.get("users") if isinstance(includes, dict) else None, item.get("users")]
    return [user for users in found if users for user in _objects(users) if isinstance(user, dict)]


def _by_handle(item: JsonObject) -> Inside | None:
    """Returns the tweets of lists by author's handle, or of one list under an unknown name; None for other objects."""
    lists = {key: value for key, value in item.items() if isinstance(value, list) and value and _are_tweets(value)}
    if not lists or len(lists) < len(item):
        return None
    named = len(lists) > 1 or next(iter(lists)).startswith("@")
    named = named and all(handle_of(key) and key.lower() not in _WORDS and not key.isdecimal() for key in lists)
    found = [(one, key) for key, value in lists.items() for one in value]
    return Inside([({"text": one} if isinstance(one, str) else one, key if named else None) for one, key in found])


def _is_list_of_tweets(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict) and _are_tweets(value)


def _are_tweets(values: list[Any]) -> bool:
    texts = set(Columns.of(values[0], {}).text) if isinstance(values[0], dict) else set()
    return bool(texts) or all(isinstance(value, str) for value in values)


def _web(value: Any, depth: int = 0) -> Iterator[tuple[JsonObject, Any]]:
    """Yields the tweets in a response of X's web page with their authors, without the tweets that they quote."""
    if depth > _WEB_DEPTH:
        return
    if isinstance(value, list):
        for one in value:
            yield from _web(one, depth + 1)
    elif isinstance(value, dict):
        legacy, core = value.get("legacy"), value.get("core")
        if isinstance(legacy, dict) and isinstance(legacy.get("full_text"), str) and isinstance(core, dict):
            yield _web_tweet(value, legacy), core
            return
        for one in value.values():
            if isinstance(one, dict | list):
                yield from _web(one, depth + 1)


def _web_tweet(tweet: JsonObject, legacy: JsonObject) -> JsonObject:
    note: Any = tweet
    for step in ("note_tweet", "note_tweet_results", "result"):
        note = note.get(step) if isinstance(note, dict) else None
    retweeted = "retweeted_status_result" in legacy or "retweeted_status_id_str" in legacy
    fields: dict[str, Any] = {key: legacy[key] for key in ("created_at", "lang", "favorite_count") if key in legacy}
    fields |= {"id_str": legacy.get("id_str") or tweet.get("rest_id"), "full_text": legacy["full_text"]}
    fields |= {"is_retweet": retweeted, "is_quote": bool(legacy.get("is_quote_status"))}
    fields |= {"is_reply": bool(legacy.get("in_reply_to_status_id_str"))}
    return fields | ({"note_tweet": note} if isinstance(note, dict) else {})
