"""Whose a record is. There are three answers: a handle, nobody is named, or an author that we cannot resolve.

    author_of("https://x.com/Wren/status/5")         # "wren"
    author_of({"id": 7, "userName": "Wren"})         # "wren"
    author_of({"id": 7})                             # Unknown("the author is known only by the id 7; …", "7")
    author_of(None)                                  # None: nobody is named

A record whose author is unknown is rejected. Only where no record of a file names anybody does the file's name
(or the fleet file's `handle:`) say whose they are: `Owner` decides that, with a second look at the file.
"""

import ast
import re
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from typing import Any, NamedTuple

import orjson

from pipeline.core.names import handle_of
from pipeline.tweets.columns import plain_name
from pipeline.tweets.files import TweetFile
from pipeline.tweets.flags import NOTHING


class Unknown(NamedTuple):
    """An author that a record names and that cannot be resolved to a handle."""

    reason: str
    id: str | None = None  # of the account, where that is all there is


class LinkAuthor(str):
    """A handle that only the record's own address names."""


Author = str | Unknown | None
Ids = Callable[[str | None], str | None]  # from an account's id to its handle

_NAMES = ("username", "screenname", "handle", "preferredusername")  # plain names of what holds an account's name
_LOOSE = {"user", "author", "account", "fromuser"}  # columns in which a number is an id and no name
_LINKS = ("url", "uri", "link", "profileurl")
_X = re.compile(
    r"(?:https?://)?(?:www\.|mobile\.|m\.)?(?:(?:twitter|x)\.com|[\w.-]*nitter[\w.-]*)/(?:#!/)?@?(\w{1,15})(?=[/?#]|$)",
    re.ASCII | re.IGNORECASE,
)
_NOBODY = {"i", "home", "search", "hashtag", "intent", "share", "explore", "settings", "messages", "notifications"}
_BLUESKY = re.compile(r"https?://bsky\.app/profile/([\w.-]+)(?=[/?#]|$)", re.ASCII | re.IGNORECASE)
_FEDIVERSE = re.compile(r"https?://([\w.-]+)/(?:@|users/)([\w.-]+)(?:@([\w.-]+))?(?=[/?#]|$)", re.ASCII | re.IGNORECASE)
_POST = re.compile(r"/(?:status|statuses|post)?/?(\w+)/?(?:[?#].*)?$", re.ASCII)
_OWN_LINKS = {"postlink", "posturl", "tweetlink", "tweeturl", "tweetpermalink", "permalink", "permalinkurl"}
_OWN_LINKS |= {"statusurl", "twitterurl"}  # columns that hold a post's own address and never another's
# of an account that was written as text, in whatever syntax
_NAME_IN_TEXT = re.compile(
    r"""['"]?\b(?:user_?name|screen_?name)['"]?\s*[:=]\s*['"]([A-Za-z0-9_.@-]{1,63})['"]""", re.IGNORECASE
)
_X_NAME = re.compile(r"\w{1,15}", re.ASCII)
_LONGEST = 100_000  # characters of an account that was written as text


def author_of(value: Any, ids: Ids = lambda id: None) -> Author:
    """The author in what a record has for it: a name, an address, an id, an account as an object or as its text."""
    if isinstance(value, str):
        return _in_text(value, ids)
    if value is None or value is False or value != value:
        return None
    if isinstance(value, Mapping):
        return _of_account(value, ids)
    if isinstance(value, int) and value is not True:
        return author_of_id(str(value), ids)
    return _no_handle(value)


def author_in(column: str, value: Any, ids: Ids) -> Author:
    """The author in a column that may hold names as well as ids, such as `user`."""
    if isinstance(value, str) and value.strip().isdecimal() and plain_name(column) in _LOOSE:
        return author_of_id(value, ids)
    return author_of(value, ids)


def is_loose(column: str) -> bool:
    """Whether a column may hold names as well as ids."""
    return plain_name(column) in _LOOSE


def author_of_id(value: Any, ids: Ids) -> Author:
    """The author in a column of accounts' ids; some data sets hold names of X there for a part of the accounts."""
    text = "" if value is None or value is False else str(value).strip()
    text = text.removesuffix(".0") if text[:-2].isdecimal() else text
    if text.lower() in NOTHING or text == "0":
        return None
    if (known := ids(text)) is not None:
        return known
    if not text.isdecimal() and (_X_NAME.fullmatch(text.removeprefix("@")) or "." in text):
        return handle_of(text) or unknown_id(text)
    return unknown_id(text)


def unknown_id(id: str) -> Unknown:
    """The answer for an account of which only the id is known."""
    return Unknown(f"the author is known only by the id {id[:40]}; a table of users would name it", id)


def link_author(link: Any, id: Any, column: str) -> LinkAuthor | None:
    """The author in a tweet's own address; None where the address may be of something else."""
    if not isinstance(link, str) or (handle := account_of_url(link)) is None:
        return None
    post = _POST.search(link)
    if id is None or str(id).strip().lower() in NOTHING:
        return LinkAuthor(handle) if post and plain_name(column) in _OWN_LINKS else None
    return LinkAuthor(handle) if post and post[1] == str(id).strip() else None


def account_of_url(url: str) -> str | None:
    """The handle of the account that an address of X, Bluesky or the Fediverse names."""
    if found := _X.match(url):
        return None if found[1].lower() in _NOBODY else handle_of(found[1])
    if found := _BLUESKY.match(url):
        return handle_of(found[1]) if "." in found[1] else None
    if found := _FEDIVERSE.match(url):
        host, user, elsewhere = found.groups()
        return handle_of(f"@{user}@{elsewhere or host}")
    return None


def _in_text(text: str, ids: Ids) -> Author:
    if (handle := handle_of(text)) is not None:
        return None if text.strip() in ("nan", "NaN", "None", "null", "NULL") else handle
    text = text.strip()
    if text.lower() in NOTHING:
        return None
    if text.startswith("did:"):  # the id of an account of Bluesky
        return ids(text) or unknown_id(text)
    if text.startswith("{"):
        return _of_account(account, ids) if (account := _parsed(text)) else _named_inside(text)
    if "/" in text and (handle := account_of_url(text)) is not None:
        return handle
    return _named_inside(text) if "(" in text else _no_handle(text)


def _parsed(text: str) -> dict[str, Any] | None:
    """An object that was written as JSON or as Python's literal."""
    if len(text) > _LONGEST:
        return None
    for parse in (orjson.loads, ast.literal_eval):
        try:
            found = parse(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
            continue
        return found if isinstance(found, dict) else None
    return None


def _named_inside(text: str) -> Author:
    found = _NAME_IN_TEXT.search(text[:_LONGEST])
    return (handle_of(found[1]) if found else None) or _no_handle(text)


def _of_account(account: Mapping[Any, Any], ids: Ids) -> Author:
    if not account:
        return None
    fields = {plain_name(str(key)): value for key, value in account.items()}
    for inner in ("result", "userresults", "legacy", "core"):  # as X's web page nests accounts
        if isinstance(fields.get(inner), Mapping) and isinstance(found := _of_account(fields[inner], ids), str):
            return found
    links = [link for name in _LINKS if isinstance(link := fields.get(name), str)]
    address = next((handle for link in links if (handle := account_of_url(link))), None)
    if isinstance(acct := fields.get("acct"), str):  # the Fediverse's; a server leaves its own name out
        named = handle_of(acct) if "@" in acct else address
        return named or Unknown(f"an account of a server that the record does not name: {acct[:40]!r}")
    for name in _NAMES:
        if isinstance(found := fields.get(name), str) and found.strip():
            return handle_of(found) or address or _no_handle(found)
    id = next((str(fields[key]) for key in ("idstr", "id", "restid", "userid") if fields.get(key)), None)
    if id is not None and (known := ids(id)) is not None:
        return known
    return address or (unknown_id(id) if id else _no_handle(dict(account)))


def _no_handle(value: Any) -> Unknown:
    text = value if isinstance(value, str) else str(value)
    return Unknown(f"not a handle: {text[:40]!r}")


class _Named(NamedTuple):
    """What the records of a file say of their authors, all together."""

    somebody: bool  # some record names its author, by a field
    links: set[str]  # handles that records' own addresses name
    ids: set[str | None]  # of authors that are unknown (two at most)


class Owner:
    """Whose the records are that name nobody, or only the id of an account."""

    def __init__(self, file: TweetFile, read: Callable[[TweetFile], Iterator[Any]]):
        """`read` reads the file's rows; it is read a second time where a record names nobody."""
        self._file, self._read = file, read

    def author(self, value: Any) -> str | Unknown:
        """The handle that a row's author stands for, or why it stands for none."""
        author = value if isinstance(value, LinkAuthor | Unknown) else author_of(value)
        if author is None:
            return self._unnamed
        if isinstance(author, Unknown) and author.id is not None and self._file.named and self._file.handle:
            named = self._named
            if not named.somebody and not named.links and named.ids == {author.id}:
                return self._file.handle  # the one account that the file is of
        return author

    @cached_property
    def _unnamed(self) -> str | Unknown:
        if self._file.named and self._file.handle:
            return self._file.handle
        named = self._named
        if named.somebody or named.ids or len(named.links) > 1:
            return Unknown("the record names no author, and others of the file do")
        if named.links:
            return next(iter(named.links))
        return self._file.handle or Unknown("no handle in the record, and the file's name is none")

    @cached_property
    def _named(self) -> _Named:
        named = _Named(False, set(), set())
        for row in self._read(self._file):
            author = row[0] if type(row) is tuple else None
            if isinstance(author, LinkAuthor):
                named.links.add(author)
            elif author is not None:
                author = author if isinstance(author, Unknown) else author_of(author)
                if isinstance(author, str) or len(named.ids) > 1:
                    return named._replace(somebody=True)
                named.ids.update([author.id] if author else [])
        return named
