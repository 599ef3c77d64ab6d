"""Turns one JSON object into rows: a tweet of X's API v1.1 or v2, a page of tweets, or `{text, screen_name}`.

    tweets = Tweets(file, users)
    for item in tweets.rows({"text": "hello", "screen_name": "wren"}, line=1): ...

v1.1: `full_text` or `extended_tweet` holds the full text, and `retweeted_status` marks a retweet (`retweeted` only
states whether the account that called the API retweeted it). users.py resolves a trimmed `user`. v2: `note_tweet` holds
the full text, `referenced_tweets` mark retweets, replies and quotes, and users are in `includes` or in `author`.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

from pipeline.core.json_file import JsonObject
from pipeline.core.names import handle_of
from pipeline.tweets import bluesky, mastodon, reddit, threads, wrappers
from pipeline.tweets.authors import (
    Author,
    Unknown,
    author_in,
    author_of,
    author_of_id,
    is_loose,
    link_author,
    naming_somebody,
    several_people,
)
from pipeline.tweets.bluesky_consent import PREFERENCES, refusal, refused_use
from pipeline.tweets.columns import Columns, plain_name, value_at
from pipeline.tweets.edits import EARLIER, Edits
from pipeline.tweets.files import MAX_PICTURE, PICTURES, TweetFile, beside, read_small
from pipeline.tweets.flags import Test, answer, flag
from pipeline.tweets.html_text import is_html, plain_text
from pipeline.tweets.record import Profile, Reject, Row
from pipeline.tweets.users import Users

NESTED = {"extended_tweet", "note_tweet", "user", "author", "account", "tweet", "retweeted_status", "retweeted"}
NESTED |= {"edit_history_tweet_ids", "edit_info", "edit_control"}
NESTED |= {"favorited", "is_quote_status", "referenced_tweets", "public_metrics", "reblog"}
_ACCOUNT = {"name", "displayname", "description", "profileimageurl", "profileimageurlhttps", "followerscount"}
_NETWORKS = {"$type", "record", "value", "post", "actor", "attributedTo", "visibility", "preferredUsername"}
_NETWORKS |= {"commit", "subreddit", threads.POSTS}
_SHAPES = 1000  # remembered at most
_Tests = list[tuple[str, Test]]


class _Shape(NamedTuple):
    """What the keys of an object mean, determined once for each sequence of keys."""

    columns: Columns
    nested: bool  # it holds more than plain values under the usual names
    network: bool  # it may come from a network other than X
    account: bool  # a user, not a tweet
    single: tuple[str | None, ...] | None  # the keys of a plain object, if no field has more than one
    elsewhere: bool  # an id or a URL may give the author
    html: bool  # the text may be HTML
    somebody: tuple[str, ...]  # keys that name somebody who may be the author, if no known key names one
    retweet: _Tests  # the keys that may mark a retweet, each with its test
    reply: _Tests
    quote: _Tests


class Tweets:
    """Turns the objects of one file into rows; caches their shapes and accounts."""

    def __init__(self, file: TweetFile, users: Users):
        self._file = file
        self._users = users
        self._shapes: dict[tuple[str, ...], _Shape] = {}
        self._profiles: list[Profile] = []
        self._somebody: dict[str, str] = {}  # first values of such keys; see several_people
        self._edits = Edits(file, users.read)
        self._handles: dict[str, str] = {}  # by the names of the accounts whose profiles are known

    def plain(self, item: JsonObject, line: int) -> Row | None:
        """Returns the row of an object of plain values, the fast path; None if `rows` has to handle the object."""
        shape = self._shapes.get(tuple(item))
        if shape is None or shape.single is None:
            return None
        handle, id, text, created_at, lang, likes = shape.single
        author = item[handle] if handle else None
        if type(author) is not str and (author is not None or shape.elsewhere):
            return None
        if shape.html and text and is_html(str(item[text])):
            return None
        return (
            author,
            item[id] if id else None,
            item[text] if text else None,
            _answer(item, shape.retweet) if shape.retweet else None,
            line,
            item[created_at] if created_at else None,
            item[lang] if lang else None,
            item[likes] if likes else None,
            _answer(item, shape.reply) if shape.reply else None,
            _answer(item, shape.quote) if shape.quote else None,
        )

    def rows(self, item: JsonObject, line: int) -> Iterator[Row | Reject | Profile]:
        """Yields the row of a tweet, the rows of the tweets in a page, or the profile of an account; or a Reject."""
        yield from self._rows(item, line)
        if self._profiles:
            yield from self._profiles
            self._profiles = []

    def _rows(self, item: JsonObject, line: int, author: Author = None, depth: int = 0) -> Iterator[Row | Reject]:
        """`author` is the author that the surrounding object gives, if any."""
        shape = self._shape(item)
        if shape.network:
            if mastodon.is_actor(item):
                self._account(item)
                return
            if threads.POSTS in item:
                yield from threads.rows(item, line, self._file)
                return
            found = bluesky.flat(item) or mastodon.flat(item) or (None if self._file.columns else reddit.flat(item))
            if isinstance(found, str):
                yield Reject(line, found)
                return
            item, shape = (item, shape) if found is None else (found, self._shape(found))
        if shape.account and not wrappers.is_wrapper(item):
            if not isinstance(self._account(item), str):
                yield Reject(line, "an account without a handle")
        elif shape.columns.text and not isinstance(_first(item, shape.columns.text), dict):
            yield self._row(item, line, shape, author)
        elif (wrapped := wrappers.inside(item)) is None or depth > wrappers.DEPTH:
            yield self._no_text(item, line, shape)
        elif isinstance(wrapped, str):
            yield Reject(line, wrapped)
        else:
            for name in wrapped.left_out:
                yield Reject(line, f"a list of posts under {name!r}, beside the one that is read")
            for user in wrapped.users:
                self._account(user)
            use = refused_use(item.get(PREFERENCES) or ())
            for one, whose in wrapped.items:
                if isinstance(one, dict):
                    rows = self._rows(one, line, author_of(whose, self._users.handle) or author, depth + 1)
                    yield from self._agreed(rows, line, use) if use else rows
                else:
                    yield Reject(line, "not a JSON object")

    def _agreed(self, rows: Iterator[Row | Reject], line: int, use: str) -> Iterator[Row | Reject]:
        """The rows of a page whose account forbids `use`; a Reject for each row, unless the author has agreed to us."""
        for row in rows:
            agreed = isinstance(row, Reject) or self._file.may_train_on(row[0])
            yield row if agreed else Reject(line, refusal(use))

    def _no_text(self, item: JsonObject, line: int, shape: _Shape) -> Row | Reject:
        asked = self._file.columns.get("text")
        if asked and not shape.columns.text:
            return Reject(line, f"no key {asked!r} for `text`")
        return Reject(line, "no text")

    def _shape(self, item: JsonObject) -> _Shape:
        keys = tuple(item)
        if (shape := self._shapes.get(keys)) is None:
            columns = Columns.of(keys, self._file.columns, nested=True)
            account = not columns.text and bool(columns.handle) and not _ACCOUNT.isdisjoint(map(plain_name, keys))
            tests = [
                [(name, flag(kind, name)) for name in getattr(columns, kind)] for kind in ("retweet", "reply", "quote")
            ]
            nested, network = not NESTED.isdisjoint(keys), not _NETWORKS.isdisjoint(keys)
            somebody = () if columns.handle or columns.author_id else naming_somebody(keys, self._file)
            single = None if nested or network or account or somebody else _single(columns, keys)
            elsewhere = bool(columns.author_id or columns.link)
            html = any(plain_name(name) == "content" for name in columns.text)
            shape = _Shape(columns, nested, network, account, single, elsewhere, html, somebody, *tests)
            if len(self._shapes) < _SHAPES:
                self._shapes[keys] = shape
        return shape

    def _row(self, item: JsonObject, line: int, shape: _Shape, whose: Author) -> Row | Reject:
        columns = shape.columns
        if shape.nested and self._edits.is_superseded(item, _first(item, columns.id)):
            return Reject(line, EARLIER)
        text = _first(item, columns.text)
        if shape.html and isinstance(text, str) and is_html(text):
            text = plain_text(text)
        likes = _first(item, columns.likes)
        retweet, reply, quote = (_answer(item, tests) for tests in (shape.retweet, shape.reply, shape.quote))
        if shape.nested:
            text = _inside(item, "note_tweet", "text") or _inside(item, "extended_tweet", "full_text") or text
            likes = _inside(item, "public_metrics", "like_count") if likes is None else likes
            retweet, reply, quote = _by_format(item, retweet, reply, quote)
        author = self._author(item, columns) or whose or several_people(item, shape.somebody, self._somebody)
        return (
            *(author, _first(item, columns.id), text, retweet, line, _first(item, columns.created_at)),
            *(_first(item, columns.lang), likes, reply, quote),
        )

    def _author(self, item: JsonObject, columns: Columns) -> Author:
        """The author of a tweet: the first one that is a handle, else the first one."""
        unknown: Author = None
        ids = self._users.handle
        for name in columns.handle:
            value = item[name] if name in item else value_at(item, name)
            author = self._account(value) if isinstance(value, dict) else author_in(name, value, ids)
            if isinstance(author, str):
                return author
            unknown = unknown or author
        for name in columns.author_id:
            author = author_of_id(item[name], ids)
            if isinstance(author, str):
                return author
            unknown = unknown or author
        for name in columns.link:
            if (link := link_author(item[name], _first(item, columns.id), name)) is not None:
                return str(link) if unknown else link
        asked = self._file.columns.get("handle")
        return unknown or (Unknown(f"no key {asked!r} for `handle`") if asked and not columns.handle else None)

    def _account(self, user: JsonObject) -> Author:
        """The author in a user object; the first object of an account also yields its profile."""
        name = user.get("screen_name") or user.get("username")
        name = name if type(name) is str and "acct" not in user else ""
        if name in self._handles:
            return self._handles[name]
        handle = handle_of(name)
        author = handle or author_of(user)
        if not isinstance(author, str):
            return author_of(user, self._users.handle)
        if self._users.known(author) is not None:
            return author
        url = user.get("profile_image_url_https") or user.get("profile_image_url") or user.get("avatar")
        shown = user.get("name") or user.get("displayName") or user.get("displayname") or user.get("display_name")
        profile = Profile(author, _text(shown), self._picture(author), _text(url), _id(user, "id_str", "id", "did"))
        self._users.add(profile)
        self._profiles.append(profile)
        if handle is not None:
            self._handles[name] = handle
        return author

    def _picture(self, handle: str) -> bytes | None:
        """The picture that `huggingtweets fetch` has saved beside the tweets of the account."""
        if handle != self._file.handle:
            return None
        path = beside(self._file.path, f"{PICTURES}/{handle}.jpg")
        return read_small(self._file.filesystem, path, MAX_PICTURE) or None


def _single(columns: Columns, keys: tuple[str, ...]) -> tuple[str | None, ...] | None:
    fields = columns.handle, columns.id, columns.text, columns.created_at, columns.lang, columns.likes
    names = [name for found in fields for name in found]
    if not columns.text or any(len(found) > 1 for found in fields) or not set(names) <= set(keys):
        return None
    if columns.handle and is_loose(columns.handle[0]):
        return None
    return tuple(found[0] if found else None for found in fields)


def _first(item: JsonObject, names: tuple[str, ...]) -> Any:
    """The first of these values that is not blank; else "" if one of them is, or None."""
    blank = None
    for name in names:
        value = item[name] if name in item else value_at(item, name)
        if value is not None:
            if value != "":
                return value
            blank = value
    return blank


def _answer(item: JsonObject, tests: _Tests) -> bool | None:
    if len(tests) == 1:
        [(name, test)] = tests
        return test(item[name] if name in item else value_at(item, name))
    return answer(test(item[name] if name in item else value_at(item, name)) for name, test in tests)


def _by_format(item: JsonObject, *flags: bool | None) -> tuple[bool | None, bool | None, bool | None]:
    """Retweet, reply and quote by the fields of X's API, combined with `flags`, which other fields gave."""
    references = item.get("referenced_tweets")
    kinds = [one.get("type") for one in references if isinstance(one, dict)] if isinstance(references, list) else None
    known = kinds is not None or _is_api_v1(item)
    retweet, reply, quote = (
        (kinds is not None and kind in kinds) or (False if one is None and known else one)
        for kind, one in zip(("retweeted", "replied_to", "quoted"), flags, strict=True)
    )
    return retweet, reply, quote


def _is_api_v1(item: JsonObject) -> bool:
    """Whether it is a complete object of the API v1.1, in which a retweet always has a `retweeted_status`.

    X's exports have the same keys, none of which marks a retweet; their numbers are strings.
    """
    whole = "retweeted" in item and ("favorited" in item or "is_quote_status" in item)
    return whole and not ("edit_info" in item or isinstance(item.get("favorite_count"), str))


def _inside(item: JsonObject, outer: str, inner: str) -> Any:
    value = item.get(outer)
    return value.get(inner) if isinstance(value, dict) else None


def _id(item: JsonObject, *names: str) -> str | None:
    return next((str(item[name]) for name in names if isinstance(item.get(name), str | int)), None)


def _text(value: Any) -> str | None:
    return value[:200] if isinstance(value, str) and value else None
