"""Finds the column of a table, or the key of a JSON object, for each of our fields.

columns = Columns.of(["tweet_id", "created_at", "text", "faves"], {})
columns.text, columns.likes          # ("text",), ("faves",): names in order of preference

Columns are found by their usual names, or by the names in the fleet file. Upper and lower case, spaces, dashes and
underscores are ignored (`Tweet Text` is `tweet_text`), except for a leading underscore: `_type` is not `type`. A path
may be written with dots or slashes (`author/userName`).
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

USUAL = {
    "text": (
        *(
            "long_object.body",
            "note_tweet.text",
            "extended_tweet.full_text",
            "full_text",
            "text",
            "tweet",
            "raw_content",
            "content",
        ),
        *("tweet_text", "post_text", "body"),
    ),
    "id": ("id_str", "tweet_id", "id", "status_id", "post_id"),
    "handle": (
        *("screen_name", "user_screen_name", "username", "handle", "user.screen_name", "user.username", "user.handle"),
        *("author.username", "author.screen_name", "author.handle", "author_username", "author_screen_name"),
        *(
            "author_handle",
            "twitter_handle",
            "from_user_name",
            "from_user",
            "actor.preferred_username",
            "actor",
            "account.acct",
            "user",
            "author",
            "account",
        ),
    ),
    "author_id": (
        *("author_id", "user_id_str", "user_id", "author.id", "user.id_str", "user.id", "from_user_id", "account_id"),
        "account.id",
    ),
    "link": (
        *("post_link", "post_url", "tweet_link", "tweet_url", "tweet_permalink", "permalink", "permalink_url"),
        *("status_url", "twitter_url", "link", "url"),
    ),
    "created_at": ("created_at", "timestamp", "datetime", "date", "time", "published_at", "posted_time"),
    "lang": ("lang", "language", "twitter_lang"),
    "likes": (
        *("likes", "like_count", "likes_count", "favorite_count", "favorites", "favourites", "faves"),
        *("favorites_count", "public_metrics.like_count"),
    ),
    "retweet": (
        *(
            "is_retweet",
            "is_rt",
            "retweet_id",
            "retweet_status_id",
            "verb",
            "retweet",
            "is_repost",
            "retweeted_status",
            "retweeted_status_id",
            "retweeted_tweet",
        ),
        *("retweeted_status.id", "retweeted_status.id_str", "retweeted_status_id_str", "retweeted_tweet.id", "reblog"),
        *("referenced_tweets.retweeted.id", "type", "tweet_type", "post_type"),
    ),
    "reply": (
        *("is_reply", "in_reply_to_status_id_str", "in_reply_to_status_id", "in_reply_to_user_id_str"),
        *("in_reply_to_user_id", "in_reply_to_screen_name", "in_reply_to_tweet_id", "in_reply_to_id"),
        *("in_reply_to_account_id", "in_reply_to_user", "in_reply_to_user.username", "in_response_to_tweet_id"),
        *("referenced_tweets.replied_to.id", "type", "tweet_type", "post_type"),
    ),
    "quote": (
        *("is_quote", "is_quote_status", "quoted_status_id", "quoted_status_id_str", "quoted_status", "quoted_tweet"),
        *("quoted_tweet.id", "referenced_tweets.quoted.id", "type", "tweet_type", "post_type"),
    ),
}
TEXT_NAMES = tuple(name for name in USUAL["text"] if "." not in name)  # for messages
# json_tweet.py reads fields such as `referenced_tweets`, which no single name or path can reach


_OF_USERS = {"userlocation", "userdescription", "usercreated", "userfollowers", "userfriends", "userfavourites"}


class Columns(NamedTuple):
    """For each of our fields, the names of the file's columns for it; empty if the file has none."""

    text: tuple[str, ...]
    id: tuple[str, ...]
    handle: tuple[str, ...]  # columns that name the author
    author_id: tuple[str, ...]  # columns that hold only the id of the author's account
    link: tuple[str, ...]  # columns that may hold the tweet's URL, which contains its author's name
    created_at: tuple[str, ...]
    lang: tuple[str, ...]
    likes: tuple[str, ...]
    retweet: tuple[str, ...]
    reply: tuple[str, ...]
    quote: tuple[str, ...]

    @classmethod
    def of(cls, names: Iterable[str], asked: Mapping[str, str | None], nested: bool = False) -> "Columns":
        """Returns the columns among `names`.

        `asked` is the mapping in the fleet file; a field that it maps to None gets no column. With `nested`, values may
        be objects, so a path (`author.name`) may be mapped, too.
        """
        plain: dict[str, str] = {}
        for name in names:
            plain.setdefault(plain_name(name), name)
        display = _display_name(plain)

        def find(field: str) -> tuple[str, ...]:
            if field in ("author_id", "link") and "handle" in asked:
                return ()
            if field not in asked:
                return tuple(plain[name] for name in _PLAIN[field] if name in plain and (field, name) != display)
            wanted = asked[field]
            if wanted is None:
                return ()
            if plain_name(wanted) in plain:
                return (plain[plain_name(wanted)],)
            first = plain_name(wanted).partition(".")[0]
            return (wanted,) if nested and "." in plain_name(wanted) and first in plain else ()

        return cls(*map(find, cls._fields))


def _display_name(plain: Mapping[str, str]) -> tuple[str, str] | None:
    """The field and plain name of a column that looks like handles and holds the names that people show.

    `plain`: names by plain names. Tables of `user.name` call it user_name, beside user_location and the like; the
    scraper Scweet has it in UserScreenName, and the handle in UserName.
    """
    if plain.keys() >= {"username", "userscreenname", "embeddedtext"}:
        return "handle", "userscreenname"
    known = plain.keys() & {"screenname", "userscreenname", "handle"}
    if not known and re.search("[ _-]", plain.get("username", "").strip()) and plain.keys() & _OF_USERS:
        return "handle", "username"
    return None


def missing(names: Sequence[str], asked: Mapping[str, str | None], nested: bool = False) -> str | None:
    """Returns the problem of a table's header: a mapped column is missing, or a used one is there twice; else None."""
    plain = [plain_name(name) for name in names]
    for field, name in asked.items():
        if name and not getattr(Columns.of(names, asked, nested), field):
            return f"no column {name!r} for `{field}`; there are {', '.join(map(repr, names))[:200]}"
    used = {name for found in Columns.of(names, asked) for name in found[:1]}
    twice = sorted(name for name in used if plain.count(plain_name(name)) > 1)
    if twice:
        return f"more than one column is called {twice[0]!r}"
    return None


@lru_cache(maxsize=10_000)
def plain_name(name: str) -> str:
    """Returns a name in lower case, without the characters that are ignored."""
    return re.sub(r"(?<=.)[\s_-]+", "", name.strip().lower()).replace("/", ".")


_PLAIN = {field: tuple(dict.fromkeys(map(plain_name, names))) for field, names in USUAL.items()}
KNOWN = frozenset(name for names in _PLAIN.values() for name in names)  # plain names of all columns that we read


def value_at(item: Mapping[str, Any], name: str) -> Any:
    """Returns the value of a key, or of a path such as `author.userName` or `user/name`; None if it is missing."""
    if name in item:
        return item[name]
    value: Any = item
    for step in plain_name(name).split("."):
        if not isinstance(value, Mapping):
            return None
        value = next((inner for key, inner in value.items() if plain_name(str(key)) == step), None)
    return value
