"""What one JSON object says: a tweet as X's API v1.1 or v2 gives it, a page of them, or `{text, screen_name}`.

    tweets = Tweets(file, users)
    for item in tweets.rows({"text": "hello", "screen_name": "wren"}, line=1): ...

v1.1: `full_text` or `extended_tweet` is the whole text, `retweeted_status` marks a retweet (its `retweeted` only
tells what the reader of it did), a trimmed `user` is looked up in a users table. v2: `note_tweet` is the whole
text, `referenced_tweets` tell what it is, users come in `includes` or, flattened, as `author`.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from pipeline.core.names import handle_of
from pipeline.tweets.columns import Columns, flag, plain_name
from pipeline.tweets.files import MAX_PICTURE, PICTURES, TweetFile, beside, read_small
from pipeline.tweets.record import Profile, Reject, Row
from pipeline.tweets.users import Users

_V1 = {"retweeted_status", "retweeted", "favorited", "is_quote_status"}
_V2 = {"referenced_tweets", "author_id", "edit_history_tweet_ids", "public_metrics"}
NESTED = {"extended_tweet", "note_tweet", "user", "author", "tweet"} | _V1 | _V2
_PAGES = ("data", "statuses", "tweets")
_ACCOUNT = {"name", "description", "profileimageurl", "profileimageurlhttps", "followerscount"}
_SHAPES = 1000  # remembered at most
_Tests = list[tuple[str, Callable[[Any], bool]]]


class _Shape(NamedTuple):
    """What the keys of an object tell, worked out once for each set of keys."""

    columns: Columns
    nested: bool  # more than plain values under the usual names
    page: bool  # a list of tweets and what belongs to them
    account: bool  # a user, not a tweet
    single: tuple[str | None, ...] | None  # the keys of a plain object, where no field has more than one
    retweet: _Tests  # the keys that tell, each with its test
    reply: _Tests
    quote: _Tests


class Tweets:
    """Turns the objects of one file into rows; remembers the shapes and accounts that it has met."""

    def __init__(self, file: TweetFile, users: Users):
        self._file = file
        self._users = users
        self._shapes: dict[tuple[str, ...], _Shape] = {}
        self._profiles: list[Profile] = []

    def plain(self, item: dict[str, Any], line: int) -> Row | None:
        """The row of an object of plain values, the quick way; None where `rows` has to look closer."""
        shape = self._shapes.get(tuple(item))
        if shape is None or shape.single is None:
            return None
        handle, id, text, created_at, lang, likes = shape.single
        return (
            (item[handle] if handle else None) or self._file.handle,
            item[id] if id else None,
            item[text] if text else None,
            _said(item, shape.retweet) if shape.retweet else None,
            line,
            item[created_at] if created_at else None,
            item[lang] if lang else None,
            item[likes] if likes else None,
            _said(item, shape.reply) if shape.reply else None,
            _said(item, shape.quote) if shape.quote else None,
        )

    def rows(self, item: dict[str, Any], line: int) -> Iterator[Row | Reject | Profile]:
        shape = self._shape(item)
        if shape.page:
            yield from self._page(item, line)
        elif shape.account:
            if self._account(item) is None:
                yield Reject(line, "an account without a handle")
        else:
            yield self._row(item, line, shape)
        if self._profiles:
            yield from self._profiles
            self._profiles = []

    def _shape(self, item: dict[str, Any]) -> _Shape:
        keys = tuple(item)
        if (shape := self._shapes.get(keys)) is None:
            columns = Columns.of(keys, self._file.columns)
            page = not columns.text and any(key in item for key in _PAGES)
            account = not columns.text and bool(columns.handle) and not _ACCOUNT.isdisjoint(map(plain_name, keys))
            tests = [
                [(name, flag(kind, name)) for name in getattr(columns, kind)] for kind in ("retweet", "reply", "quote")
            ]
            nested = not NESTED.isdisjoint(keys)
            single = None if nested or page or account else _single(columns)
            shape = _Shape(columns, nested, page, account, single, *tests)
            if len(self._shapes) < _SHAPES:
                self._shapes[keys] = shape
        return shape

    def _page(self, page: dict[str, Any], line: int) -> Iterator[Row | Reject | Profile]:
        """The tweets of a response; of `includes`, which holds what they refer to, only the users."""
        includes = page.get("includes")
        users = includes.get("users") if isinstance(includes, dict) else None
        for user in users if isinstance(users, list) else ():
            if isinstance(user, dict):
                self._account(user)
        found = next(page[key] for key in _PAGES if key in page)
        for item in found if isinstance(found, list) else [found]:
            if not isinstance(item, dict):
                yield Reject(line, "not a JSON object")
            elif (shape := self._shape(item)).account:
                self._account(item)
            else:
                yield self._row(item, line, shape)

    def _row(self, item: dict[str, Any], line: int, shape: _Shape) -> Row:
        if shape.nested:
            return self._nested(item, line, shape)
        columns = shape.columns
        return (
            _first(item, columns.handle) or self._file.handle,
            _first(item, columns.id),
            _first(item, columns.text),
            _said(item, shape.retweet),
            line,
            _first(item, columns.created_at),
            _first(item, columns.lang),
            _first(item, columns.likes),
            _said(item, shape.reply),
            _said(item, shape.quote),
        )

    def _nested(self, item: dict[str, Any], line: int, shape: _Shape) -> Row:
        columns = shape.columns
        text = _first(item, columns.text)
        if isinstance(text, dict) and not isinstance(text.get("tweet"), dict):
            return self._row(text, line, self._shape(text))  # {"tweet": {…}}, as in an export without its frame
        whole = _inside(item, "extended_tweet", "full_text") or _inside(item, "note_tweet", "text")
        metrics = _inside(item, "public_metrics", "like_count")
        retweet, reply, quote = self._kinds(item, shape)
        return (
            self._handle(item, columns) or self._file.handle,
            _first(item, columns.id),
            whole or text,
            retweet,
            line,
            _first(item, columns.created_at),
            _first(item, columns.lang),
            _first(item, columns.likes) if metrics is None else metrics,
            reply,
            quote,
        )

    def _kinds(self, item: dict[str, Any], shape: _Shape) -> tuple[bool | None, bool | None, bool | None]:
        """Whether it is a retweet, a reply, a quote, by the format's own flags; None where it has none."""
        flags = [_said(item, tests) for tests in (shape.retweet, shape.reply, shape.quote)]
        references = item.get("referenced_tweets")
        listed = references if isinstance(references, list) else []
        kinds = [one.get("type") for one in listed if isinstance(one, dict)]
        referred = [kind in kinds for kind in ("retweeted", "replied_to", "quoted")]
        if item.get("retweeted_status") is not None:
            referred[0] = True
        known = any(key in item for key in _V1 | _V2)
        retweet, reply, quote = (
            there or (False if known and said is None else said) for there, said in zip(referred, flags, strict=True)
        )
        return retweet, reply, quote

    def _handle(self, item: dict[str, Any], columns: Columns) -> Any:
        user = _first(item, columns.handle)
        if isinstance(user, dict):
            profile = self._account(user)
            return profile.handle if profile else _username(user) or self._users.handle(_id(user, "id_str", "id"))
        return user or self._users.handle(_id(item, "author_id", "user_id"))

    def _account(self, user: dict[str, Any]) -> Profile | None:
        """The profile in a user object, which is told once a file; None where it has no name."""
        name = _username(user)
        handle = handle_of(name) if isinstance(name, str) else None
        if handle is None:
            return None
        if (known := self._users.known(handle)) is not None:
            return known
        url = user.get("profile_image_url_https") or user.get("profile_image_url")
        profile = Profile(handle, _text(user.get("name")), self._picture(handle), _text(url), _id(user, "id_str", "id"))
        self._users.add(profile)
        self._profiles.append(profile)
        return profile

    def _picture(self, handle: str) -> bytes | None:
        """What `huggingtweets fetch` puts beside the tweets of one person."""
        if handle != self._file.handle:
            return None
        path = beside(self._file.path, f"{PICTURES}/{handle}.jpg")
        return read_small(self._file.filesystem, path, MAX_PICTURE) or None


def _single(columns: Columns) -> tuple[str | None, ...] | None:
    fields = columns.handle, columns.id, columns.text, columns.created_at, columns.lang, columns.likes
    if any(len(names) > 1 for names in fields):
        return None
    return tuple(names[0] if names else None for names in fields)


def _first(item: dict[str, Any], names: tuple[str, ...]) -> Any:
    """The first of these values that is there."""
    for name in names:
        if (value := item[name]) is not None:
            return value
    return None


def _said(item: dict[str, Any], tests: _Tests) -> bool | None:
    for name, test in tests:
        if test(item[name]):
            return True
    return False if tests else None


def _inside(item: dict[str, Any], outer: str, inner: str) -> Any:
    value = item.get(outer)
    return value.get(inner) if isinstance(value, dict) else None


def _username(user: dict[str, Any]) -> Any:
    return user.get("screen_name") or user.get("username")


def _id(item: dict[str, Any], *names: str) -> str | None:
    return next((str(item[name]) for name in names if isinstance(item.get(name), str | int)), None)


def _text(value: Any) -> str | None:
    return value[:200] if isinstance(value, str) and value else None
