"""Reads CSV and TSV files: detects the delimiter, the quoting and the encoding, and finds columns by their usual names.

Without a column of authors, the name of the file is the handle. A table of accounts (with a handle but no text) yields
profiles. A file that is not a table may be a text file with one tweet a line (text_file.py).
"""

import io
from collections.abc import Callable, Iterator
from operator import itemgetter
from typing import Any

from pipeline.core.names import handle_of
from pipeline.tweets import reddit, text_file
from pipeline.tweets.authors import (
    Author,
    Unknown,
    author_in,
    author_of_id,
    is_loose,
    link_author,
    naming_somebody,
    several_people,
)
from pipeline.tweets.columns import KNOWN, TEXT_NAMES, Columns, missing, plain_name
from pipeline.tweets.csv_rows import Rows, Table
from pipeline.tweets.files import TweetFile, export_handle
from pipeline.tweets.flags import answer, flag
from pipeline.tweets.html_text import is_html, plain_text
from pipeline.tweets.json_tweet import Tweets
from pipeline.tweets.record import NOT_TWEETS, Profile, Reject, Row
from pipeline.tweets.text_lines import TextLines
from pipeline.tweets.users import Users
from pipeline.tweets.x_account import OLD_COLUMNS

_ACCOUNT = {"name", "description", "profileimageurl", "profileimageurlhttps", "followerscount"}

_Cells = list[Any]
_Answer = Callable[[_Cells], Any]


def rows(stream: io.BufferedReader, file: TweetFile, users: Users) -> Iterator[Row | Reject | Profile]:
    """Yields the rows of a table; one Reject if the file is neither a table of tweets or accounts nor plain text."""
    text = TextLines(stream)
    table = Table(text, file.columns)
    names = table.names
    columns = Columns.of(names, file.columns)
    if reddit.is_messages(names):
        yield Reject(0, f"{NOT_TWEETS}: private messages, which are never read")
    elif reddit.is_table(names) and not file.columns:
        yield from _reddit(table.rows(), names, file, users)
    elif columns.text or any(file.columns.values()):
        if (problem := missing(names, file.columns)) is not None:
            yield Reject(0, problem)
        else:
            yield from _tweets(table.rows(), names, file, users)
    elif columns.handle and columns.id and not _ACCOUNT.isdisjoint(map(plain_name, names)):
        yield from _accounts(table.rows(), names, columns)
    elif text_file.is_text(file, table.sample):
        yield from text_file.rows(text, table.lines, file)
    else:
        yield Reject(0, f"{NOT_TWEETS}: no JSON, and no column named {', '.join(TEXT_NAMES)}")


def _tweets(lines: Rows, names: list[str], file: TweetFile, users: Users) -> Iterator[Row | Reject]:
    width, header = len(names), names
    pick, author, text, retweet, reply, quote = _fields(names, file, users)
    for line, row in lines:
        if isinstance(row, Reject):
            yield row
            continue
        if row[0] in header:  # it may be another header, in a file that was concatenated from several
            if row == header:
                continue
            if _is_header(row, header):
                width, header = len(row), row
                pick, author, text, retweet, reply, quote = _fields(header, file, users)
                continue
        if len(row) != width:
            if any(row[width:]):
                yield Reject(line, f"{len(row)} cells in a row, and {width} columns")
                continue
            row = row[:width] + [None] * (width - len(row))
        row.append(None)
        whose, id, words, created_at, lang, likes = pick(row)
        yield (
            author(row) if author else whose,
            id,
            text(row) if text else words,
            retweet(row) if retweet else None,
            line,
            created_at,
            lang or None,
            likes,
            reply(row) if reply else None,
            quote(row) if quote else None,
        )


def _reddit(lines: Rows, names: list[str], file: TweetFile, users: Users) -> Iterator[Row | Reject | Profile]:
    """Yields the posts or comments in a table of Reddit, through json_tweet.py."""
    keys = [plain_name(name) if plain_name(name) in reddit.KEYS else name for name in names]
    owner = {"author": reddit.export_handle(file)} if reddit.is_export(names) else {}
    tweets = Tweets(file, users)
    for line, row in lines:
        if isinstance(row, Reject):
            yield row
        elif len(row) > len(names) and any(row[len(names) :]):
            yield Reject(line, f"{len(row)} cells in a row, and {len(names)} columns")
        elif owner.get("author", "") is None:
            yield Reject(line, reddit.WHOSE)
        elif row != names:
            yield from tweets.rows(dict(zip(keys, row, strict=False)) | owner, line)


def _is_header(row: _Cells, header: list[str]) -> bool:
    """Whether a row is a header, as in files that were concatenated from tables with different columns."""
    plain = [plain_name(cell) for cell in row]
    known = Columns.of(row, {})
    return (
        bool(known.text)
        and len(set(plain)) == len(plain) > 1
        and all(name in KNOWN or name in map(plain_name, header) for name in plain)
    )


def _fields(names: list[str], file: TweetFile, users: Users) -> tuple[Any, ...]:
    """Returns functions that get the fields of a row.

    The first one gets author, id, text, created_at, lang and likes from one column each. The others get the author,
    the text and the flags if these depend on several columns, and are None if they do not.
    """
    columns = Columns.of(names, file.columns)
    fields = (columns.handle, columns.id, columns.text, columns.created_at, columns.lang, columns.likes)
    # an empty cell is appended to each row; missing columns point to it
    pick = itemgetter(*(names.index(found[0]) if found else len(names) for found in fields))
    flags = [_flags(names, columns, kind) for kind in ("retweet", "reply", "quote")]
    return pick, _author(names, columns, file, users), _text(names, columns), *flags


def _text(names: list[str], columns: Columns) -> _Answer | None:
    """Returns a function that gets the first text of a row that is not blank, as plain text if it may be HTML."""
    at = [names.index(name) for name in columns.text]
    html = any(plain_name(name) == "content" for name in columns.text)
    if len(at) < 2 and not html:
        return None

    def text(row: _Cells) -> str | None:
        found = next((row[place] for place in at if row[place]), row[at[0]])
        return plain_text(found) if html and found and is_html(found) else found

    return text


def _author(names: list[str], columns: Columns, file: TweetFile, users: Users) -> _Answer | None:
    """Returns a function that gets the author of a row (see authors.py); None if one column of names is enough.

    If no column names the author, the row belongs to the owner of the file.
    """
    somebody = () if columns.handle or columns.author_id else naming_somebody(names, file)
    if not (columns.handle or columns.author_id or columns.link or somebody):
        old = file.handle == "tweets" and not file.named and set(map(plain_name, names)) >= OLD_COLUMNS
        owner = export_handle(file.filesystem, file.path, file.archive) if old else file.handle
        return lambda row: owner
    if len(columns.handle) == 1 and not columns.author_id and not columns.link and not is_loose(columns.handle[0]):
        return None
    named = [(name, names.index(name)) for name in columns.handle]
    by_id = [names.index(name) for name in columns.author_id]
    links = [(name, names.index(name)) for name in columns.link]
    id_at = names.index(columns.id[0]) if columns.id else len(names)
    known: dict[tuple[str, str], Author] = {}
    seen: dict[str, str] = {}

    def of_column(name: str, value: str) -> Author:
        if len(known) > 100_000:
            known.clear()
        if (name, value) not in known:
            known[name, value] = author_in(name, value, users.handle)
        return known[name, value]

    def author(row: _Cells) -> Author:
        unknown: Author = None
        for name, at in named:
            if row[at]:
                found = of_column(name, row[at])
                if isinstance(found, str):
                    return found
                unknown = unknown or found
        for at in by_id:
            if row[at]:
                found = author_of_id(row[at], users.handle)
                if isinstance(found, str):
                    return found
                unknown = unknown or found
        for name, at in links:
            if (link := link_author(row[at], row[id_at], name)) is not None:
                return str(link) if isinstance(unknown, Unknown) else link
        return unknown or (several_people(dict(zip(names, row, strict=False)), somebody, seen) if somebody else None)

    return author


def _flags(names: list[str], columns: Columns, kind: str) -> Callable[[_Cells], bool | None] | None:
    """Returns a function that gets a flag (retweet, reply or quote) of a row: True, False, or None if unknown."""
    tests = [(names.index(name), flag(kind, name)) for name in getattr(columns, kind)]
    if len(tests) == 1:
        [(at, test)] = tests
        return lambda row: test(row[at])
    return (lambda row: answer(test(row[at]) for at, test in tests)) if tests else None


def _accounts(lines: Rows, names: list[str], columns: Columns) -> Iterator[Profile | Reject]:
    """Yields the profiles in a table of accounts."""
    for line, row in lines:
        if isinstance(row, Reject):
            yield row
            continue
        cells = dict(zip(names, row, strict=False))
        handle = handle_of(cells.get(columns.handle[0], ""))
        url = cells.get("profile_image_url_https") or cells.get("profile_image_url")
        if handle is None:
            yield Reject(line, "an account without a handle")
        else:
            yield Profile(handle, cells.get("name") or None, None, url or None, cells.get(columns.id[0]))
