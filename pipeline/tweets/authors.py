"""Determines the author of a record: a handle, None if it names no author, or Unknown if we cannot resolve it.

    author_of("https://x.com/Wren/status/5")         # "wren"
    author_of({"id": 7, "userName": "Wren"})         # "wren"
    author_of({"id": 7})                             # Unknown("the author is known only by the id 7; …", "7")
    author_of(None)                                  # None: no author is named

A record with an Unknown author is rejected. If no record of a file names an author, all of them belong to the handle
in the fleet file or in the file's name. `Owner` decides this, for which it may read the file a second time.
"""

import ast
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import orjson

from pipeline.core.json_file import JsonObject
from pipeline.core.names import handle_of
from pipeline.tweets.columns import plain_name
from pipeline.tweets.files import TweetFile
from pipeline.tweets.flags import NOTHING


class Unknown(NamedTuple):
    """An author that a record names and that cannot be resolved to a handle."""

    reason: str
    id: str | None = None  # of the account, if the record has only its id


class LinkAuthor(str):
    """A handle that was found only in the URL of the tweet."""


Author = str | Unknown | None
Ids = Callable[[str | None], str | None]  # from an account's id to its handle

_NAMES = ("username", "screenname", "handle", "preferredusername")  # plain names of fields that hold an account's name
_LOOSE = {"user", "author", "account", "fromuser"}  # columns in which a number is an id, not a name
_LINKS = ("url", "uri", "link", "profileurl")
_X = re.compile(
    r"(?:https?://)?(?:www\.|mobile\.|m\.)?(?:(?:twitter|x)\.com|[\w.-]*nitter[\w.-]*)/(?:#!/)?@?(\w{1,15})(?=[/?#]|$)",
    re.ASCII | re.IGNORECASE,
)
_NOBODY = {"i", "home", "search", "hashtag", "intent", "share", "explore", "settings", "messages", "notifications"}
_BLUESKY = re.compile(r"https?://bsky\.app/profile/([\w.-]+)(?=[/?#]|$)", re.ASCII | re.IGNORECASE)
_THREADS = re.compile(r"https?://(?:www\.)?threads\.(?:net|com)/@([\w.]+)(?=[/?#]|$)", re.ASCII | re.IGNORECASE)
_FEDIVERSE = re.compile(r"https?://([\w.-]+)/(?:@|users/)([\w.-]+)(?:@([\w.-]+))?(?=[/?#]|$)", re.ASCII | re.IGNORECASE)
_POST = re.compile(r"/(?:status|statuses|post)?/?(\w+)/?(?:[?#].*)?$", re.ASCII)
_OWN_LINKS = {"postlink", "posturl", "tweetlink", "tweeturl", "tweetpermalink", "permalink", "permalinkurl"}
_OWN_LINKS |= {"statusurl", "twitterurl"}  # columns that hold only the post's own URL
# the name in an account object that was written as text, in any syntax
_NAME_IN_TEXT = re.compile(
    r"""['"]?\b(?:user_?name|screen_?name)['"]?\s*[:=]\s*['"]([A-Za-z0-9_.@-]{1,63})['"]""", re.IGNORECASE
)
_X_NAME = re.compile(r"\w{1,15}", re.ASCII)
# plain names of fields that name somebody, though we cannot know whether it is the author
_SOMEBODY = re.compile(
    r"(user|author|account|profile|owner|poster|creator|sender|speaker|tweeter|writer|person|actor)"
    r"(name|handle|screenname|nick|nickname|login|tag|link|url|displayname|fullname)?"
    r"|username|by|from|name|nickname|displayname|fullname|handlename|byline"
)
_LONGEST = 100_000  # characters of an account object that was written as text


def author_of(value: Any, ids: Ids = lambda id: None) -> Author:
    """Returns the author in a value: a name, a URL, an id, or an account as an object or as the text of one."""
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
    """Returns the author in a column that may hold names or ids, such as `user`."""
    if isinstance(value, str) and value.strip().isdecimal() and plain_name(column) in _LOOSE:
        return author_of_id(value, ids)
    return author_of(value, ids)


def is_loose(column: str) -> bool:
    """Whether a column may hold names or ids."""
    return plain_name(column) in _LOOSE


def author_of_id(value: Any, ids: Ids) -> Author:
    """Returns the author in a column of account ids; some data sets hold names instead for some of the accounts."""
    text = "" if value is None or value is False else str(value).strip()
    text = text.removesuffix(".0") if text[:-2].isdecimal() else text
    if text.lower() in NOTHING or text == "0":
        return None
    if (known := ids(text)) is not None:
        return known
    if not text.isdecimal() and (_X_NAME.fullmatch(text.removeprefix("@")) or "." in text):
        return handle_of(text) or unknown_id(text)
    return unknown_id(text)


def naming_somebody(names: Iterable[str], file: TweetFile) -> tuple[str, ...]:
    """Returns the fields that may name the author of a record in which no known field does; see `several_people`.

    There are none where the fleet file gives the author of the records.
    """
    if file.named or "handle" in file.columns:
        return ()
    return tuple(name for name in names if _SOMEBODY.fullmatch(plain_name(name)))


def several_people(item: JsonObject, names: Sequence[str], seen: dict[str, str]) -> Unknown | None:
    """Returns an Unknown author once a field in `names` has another value than in the file's records before.

    `seen` holds the first value of each field. Where a field names the same person throughout,
    the file's name remains the author.
    """
    for name in names:
        value = item.get(name)
        if isinstance(value, Mapping):
            found = author_of(value)
            value = found if isinstance(found, str) else _words(value)
        text = "" if value is None else str(value).strip().lower()
        if text not in NOTHING and seen.setdefault(name, text) != text:
            return Unknown(f"several people under {name!r}; if they are the authors: columns: {{handle: {name}}}")
    return None


def _words(account: Mapping[Any, Any]) -> str:
    """The texts in an account object; its numbers change from record to record."""
    return " ".join(value for value in account.values() if isinstance(value, str))


def unknown_id(id: str) -> Unknown:
    """Returns the Unknown author for an account of which only the id is known."""
    return Unknown(f"the author is known only by the id {id[:40]}; a table of users would name it", id)


def link_author(link: Any, id: Any, column: str) -> LinkAuthor | None:
    """Returns the author in the URL of a tweet, or None if the URL may belong to something else."""
    if not isinstance(link, str) or (handle := account_of_url(link)) is None:
        return None
    post = _POST.search(link)
    if id is None or str(id).strip().lower() in NOTHING:
        return LinkAuthor(handle) if post and plain_name(column) in _OWN_LINKS else None
    return LinkAuthor(handle) if post and post[1] == str(id).strip() else None


def account_of_url(url: str) -> str | None:
    """Returns the handle in a URL of X, Bluesky, Threads or the Fediverse, or None."""
    if found := _X.match(url):
        return None if found[1].lower() in _NOBODY else handle_of(found[1])
    if found := _BLUESKY.match(url):
        return handle_of(found[1]) if "." in found[1] else None
    if found := _THREADS.match(url):
        return handle_of(found[1].replace(".", "_"))
    if found := _FEDIVERSE.match(url):
        host, user, elsewhere = found.groups()
        return handle_of(f"@{user}@{elsewhere or host}")
    return None


def _in_text(text: str, ids: Ids) -> Author:
    if (handle := handle_of(text)) is not None:
        return None if text.strip() in ("nan", "NaN", "None", "null", "NULL", "NA") else handle
    text = text.strip()
    if text.lower() in NOTHING:
        return None
    if text.startswith("did:"):  # the id of an account of Bluesky
        return ids(text) or unknown_id(text)
    if text.startswith("{"):
        return _of_account(account, ids) if (account := _parsed(text)) else _name_inside(text)
    if "/" in text and (handle := account_of_url(text)) is not None:
        return handle
    return _name_inside(text) if "(" in text else _no_handle(text)


def _parsed(text: str) -> JsonObject | None:
    """Parses an object that was written as JSON or as a Python literal; None if it is neither."""
    if len(text) > _LONGEST:
        return None
    for parse in (orjson.loads, ast.literal_eval):
        try:
            found = parse(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
            continue
        return found if isinstance(found, dict) else None
    return None


def _name_inside(text: str) -> Author:
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
    if isinstance(acct := fields.get("acct"), str):  # of the Fediverse; a server omits its own name
        handle = handle_of(acct) if "@" in acct else address
        return handle or Unknown(f"an account of a server that the record does not name: {acct[:40]!r}")
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


class _FileAuthors(NamedTuple):
    """The authors that the records of a file name."""

    in_fields: bool  # a field of some record names its author, or there are several unknown authors
    in_links: set[str]  # handles in the URLs of tweets
    unknown_ids: set[str | None]  # ids of Unknown authors (two at most)


class Owner:
    """Decides who wrote the records that name no author, or only the id of an account."""

    def __init__(self, file: TweetFile, read: Callable[[TweetFile], Iterator[Any]]):
        """`read` yields the rows of the file; it is called once a record names no author."""
        self._file, self._read = file, read

    def author(self, value: Any) -> str | Unknown:
        """Returns the handle for the author in a row, or an Unknown with the reason why there is none."""
        author = value if isinstance(value, LinkAuthor | Unknown) else author_of(value)
        if author is None:
            return self._default
        if isinstance(author, Unknown) and author.id is not None and self._file.named and self._file.handle:
            authors = self._file_authors
            if not authors.in_fields and not authors.in_links and authors.unknown_ids == {author.id}:
                return self._file.handle  # the file holds the tweets of this account alone
        return author

    @cached_property
    def _default(self) -> str | Unknown:
        """The author of the records that name none."""
        if self._file.named and self._file.handle:
            return self._file.handle
        authors = self._file_authors
        if authors.in_fields or authors.unknown_ids or len(authors.in_links) > 1:
            return Unknown("the record names no author, and others of the file do")
        if authors.in_links:
            return next(iter(authors.in_links))
        return self._file.handle or Unknown("no handle in the record, and the file's name is none")

    @cached_property
    def _file_authors(self) -> _FileAuthors:
        found = _FileAuthors(False, set(), set())
        for row in self._read(self._file):
            author = row[0] if type(row) is tuple else None
            if isinstance(author, LinkAuthor):
                found.in_links.add(author)
            elif author is not None:
                author = author if isinstance(author, Unknown) else author_of(author)
                if isinstance(author, str) or len(found.unknown_ids) > 1:
                    return found._replace(in_fields=True)
                found.unknown_ids.update([author.id] if author else [])
        return found
