"""Which column (of a table) or key (of a JSON object) holds what: by its usual names, or as the fleet file says.

columns = Columns.of(["tweet_id", "created_at", "text", "faves"], {})
columns.text, columns.likes          # ("text",), ("faves",): names in order of preference

Case, spaces, dashes and underscores make no difference: `Tweet Text` is `tweet_text`.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

USUAL = {
    "text": ("full_text", "text", "tweet", "content", "raw_content", "tweet_text"),
    "id": ("id_str", "tweet_id", "id", "status_id"),
    "handle": (
        *("screen_name", "user_screen_name", "username", "user_name", "handle", "author.username", "user.screen_name"),
        *("user.username", "author_username", "from_user", "user", "author"),
    ),
    "created_at": ("created_at", "timestamp", "datetime", "date", "time", "published_at"),
    "lang": ("lang", "language"),
    "likes": (
        *("likes", "like_count", "likes_count", "favorite_count", "favorites", "favourites", "faves"),
        *("favorites_count", "public_metrics.like_count"),
    ),
    "retweet": ("is_retweet", "retweet", "referenced_tweets.retweeted.id", "retweeted_status_id", "type", "tweet_type"),
    "reply": (
        *("is_reply", "in_reply_to_status_id_str", "in_reply_to_status_id", "in_reply_to_user_id_str"),
        *("in_reply_to_user_id", "in_reply_to_screen_name", "referenced_tweets.replied_to.id", "type", "tweet_type"),
    ),
    "quote": ("is_quote", "is_quote_status", "quoted_status_id", "referenced_tweets.quoted.id", "type", "tweet_type"),
}
_NO = ("", "0", "false", "f", "no", "n", "nan", "none", "null", "<na>")
_LONGEST_NO = 8
_YES = ("true", "t", "1", "1.0", "yes", "y")
_KINDS = {  # what a `type` column calls them
    "retweet": ("rt", "retweet", "retweeted"),
    "reply": ("r", "reply", "replied_to"),
    "quote": ("q", "quote", "quoted"),
}


class Columns(NamedTuple):
    """For each of our fields the names a file has for it; empty where it has none."""

    text: tuple[str, ...]
    id: tuple[str, ...]
    handle: tuple[str, ...]
    created_at: tuple[str, ...]
    lang: tuple[str, ...]
    likes: tuple[str, ...]
    retweet: tuple[str, ...]
    reply: tuple[str, ...]
    quote: tuple[str, ...]

    @classmethod
    def of(cls, names: Iterable[str], asked: Mapping[str, str | None]) -> "Columns":
        """The columns among `names`. `asked` is the fleet file's mapping; a field mapped to None is left alone."""
        plain: dict[str, str] = {}
        for name in names:
            plain.setdefault(plain_name(name), name)

        def find(field: str) -> tuple[str, ...]:
            wanted = (asked[field],) if field in asked else USUAL[field]
            return tuple(plain[plain_name(name)] for name in wanted if name and plain_name(name) in plain)

        return cls(*map(find, cls._fields))


def missing(names: Sequence[str], asked: Mapping[str, str | None]) -> str | None:
    """What is wrong with a table's header, as far as we would use it; None where all is well."""
    plain = [plain_name(name) for name in names]
    for field, name in asked.items():
        if name and plain_name(name) not in plain:
            return f"no column {name!r} for `{field}`; there are {', '.join(map(repr, names))[:200]}"
    used = {name for found in Columns.of(names, asked) for name in found[:1]}
    twice = sorted(name for name in used if plain.count(plain_name(name)) > 1)
    if twice:
        return f"more than one column is called {twice[0]!r}"
    return None


def plain_name(name: str) -> str:
    return re.sub(r"[\s_-]", "", name.lower())


def flag(field: str, name: str) -> Callable[[Any], bool]:
    """What tells whether a value of the column `name` says yes to `field` (retweet, reply or quote)."""
    plain, kinds = plain_name(name), _KINDS[field]

    def refers(value: Any) -> bool:  # to a tweet or an account
        return bool(value) and (len(text := str(value)) > _LONGEST_NO or text.strip().lower() not in _NO)

    def is_kind(value: Any) -> bool:
        return bool(value) and str(value).strip().lower().partition(":")[0] in kinds

    def says_yes(value: Any) -> bool:
        return value is True or (bool(value) and (str(value).strip().lower() in _YES or is_kind(value)))

    if plain in ("type", "tweettype"):
        return is_kind
    return refers if plain.endswith(("id", "idstr", "name")) else says_yes
