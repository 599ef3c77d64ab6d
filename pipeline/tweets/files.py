"""Finds the files of the `tweets` entries in a fleet file, and the handle that each file belongs to.

    find([TweetSource(path="data/*.csv")])   # [TweetFile(...), ...]

An entry is a path, a folder, a glob pattern or a URI. A file without a user column belongs to the handle in its name.
An X account export belongs to the account in its account.js, else to the nearest folder whose name is a handle.
"""

import fnmatch
import json
import re
from dataclasses import dataclass, field, replace

from pyarrow import fs

from pipeline.core.errors import UserError, one_line
from pipeline.core.fleet import Fleet
from pipeline.core.json_file import JsonObject
from pipeline.core.names import handle_of
from pipeline.core.settings import TweetSource
from pipeline.core.store import resolve

_EXPORT_PART = re.compile(r"(tweets?|community-tweets?)(-part\d+)?\.js")
THREADS_FILE = "threads_and_replies.json"  # in exports of Instagram accounts
_THREADS_FOLDER = "your_instagram_activity/threads"
_INSTAGRAM_FOLDERS = {"ads_information", "apps_and_websites_off_of_instagram", "connections", "files", "media"}
_INSTAGRAM_FOLDERS |= {"logged_information", "personal_information", "preferences", "security_and_login_information"}
_INSTAGRAM_FOLDERS |= {"your_instagram_activity"}
_REDDIT_SIGNS = {"comment_headers.csv", "post_headers.csv", "comment_votes.csv", "post_votes.csv"}
_REDDIT_OTHERS = re.compile(  # parts of an export of Reddit that hold no posts, or none that were published
    r"(account_gender|announcements|approved_submitter_\w+|birthdate|chat_history|checkfile|drafts|friends|gilded_content"
    r"|gold_received|hidden_posts|ip_logs|linked_\w+|moderated_\w+|multireddits|payouts|persona|purchases|reddit_gold_\w+"
    r"|saved_(comments|posts)|scheduled_posts|sensitive_\w+|statistics|stripe|subscri\w+|twitter|user_preferences"
    r"|messages?(_archive)?|\w+_(headers|votes))\.csv"
)
_MONTHS = "data/js/tweets"  # folder with one file for each month, in exports from before 2018
_GLOB = re.compile(r"[*?\[]")
_LONGEST_NAME = 15  # characters of an account's name on X
MAX_PICTURE = 5 * 2**20  # bytes
PICTURES = ".pictures"  # the folder beside downloaded tweets that holds {handle}.jpg
_SUFFIXES = re.compile(r"(\.(csv|tsv|jsonl?|js|ndjson|txt|parquet|car|zip|tar|tgz|gz|zst|bz2|xz))+$", re.IGNORECASE)


@dataclass(frozen=True)
class TweetFile:
    """One file of tweets.

    `handle` is the author of records that name none; `named` is true if the fleet file gives that handle. `problem`
    is the reason why the file cannot be used. `columns`, `users` and `repair` come from settings.TweetSource.
    """

    path: str
    handle: str | None = None
    size: int = 0  # bytes
    mtime: float = 0.0  # seconds since the epoch
    filesystem: fs.FileSystem = field(default_factory=fs.LocalFileSystem)
    problem: str | None = None
    named: bool = False
    columns: dict[str, str | None] = field(default_factory=dict)
    users: str | None = None
    repair: bool = False
    without: frozenset[str] = frozenset()  # accounts whose records are skipped
    only: frozenset[str] | None = None  # accounts whose records are used; None: everybody's
    people: dict[str, str] = field(
        default_factory=dict
    )  # person's handle by account's handle; other accounts are their own person
    consent: bool = False  # everybody in the file agreed; preferences about AI training are ignored
    consented: frozenset[str] = frozenset()  # accounts whose owners agreed
    archive: str = ""  # the zip file that contains `path`; `filesystem` then reads inside it

    @property
    def label(self) -> str:
        """The path of the file in reports; includes the archive."""
        return f"{self.archive}/{self.path}" if self.archive else self.path

    def may_train_on(self, account: str | None) -> bool:
        """Whether the fleet file states that the owner of the account agreed."""
        return self.consent or (account is not None and handle_of(account) in self.consented)


def files_of(
    fleet: Fleet, without: frozenset[str] = frozenset(), only: frozenset[str] | None = None
) -> list[TweetFile]:
    """Returns the files of a fleet, for the people in `only` (None: everybody) but those in `without`; see `find`."""
    return find(fleet.tweets, fleet.owners, without, fleet.consented, only)


def find(
    sources: list[TweetSource],
    people: dict[str, str] | None = None,
    without: frozenset[str] = frozenset(),
    consented: frozenset[str] = frozenset(),
    only: frozenset[str] | None = None,
) -> list[TweetFile]:
    """Returns the files of the sources, each once, sorted by path.

    A source without files becomes one TweetFile with a `problem`. `people` maps accounts to people (`Fleet.owners`),
    `without` are people to skip, `consented` are accounts whose owners agreed to training (`Fleet.consented`), and
    `only` are the people to read (None: everybody).
    """
    people = people or {}
    without |= {account for account, person in people.items() if person in without}
    if only is not None:
        only |= {account for account, person in people.items() if person in only}
    found: dict[tuple[str, str], TweetFile] = {}
    for source in sources:
        for file in _files(source):
            key = (file.filesystem.type_name, file.path)
            found.setdefault(key, replace(file, people=people, without=without, only=only, consented=consented))
    return sorted(found.values(), key=lambda file: file.path)


def _files(source: TweetSource) -> list[TweetFile]:
    try:
        filesystem, path = resolve(source.path)
        infos = [filesystem.get_file_info(path)]
        problem = "no such file"
        # a file whose name contains brackets is taken literally
        if infos[0].type == fs.FileType.NotFound and _GLOB.search(path):
            infos = _glob(filesystem, path)
            problem = "no file matches"
        folders = [info for info in infos if info.type == fs.FileType.Directory]
        infos = [info for info in infos if info.type == fs.FileType.File]
        for folder in folders:
            infos += _folder(filesystem, folder.path)
            problem = "no file in the folder"
        files = [_file(filesystem, info, source) for info in infos]
    except (OSError, UserError) as error:
        files, problem = [], one_line(error)
    return files or [TweetFile(source.path, source.handle or handle_of(_stem(source.path)), problem=problem)]


def _glob(filesystem: fs.FileSystem, pattern: str) -> list[fs.FileInfo]:
    """Files and folders that match; `*` matches within one name, `**` matches any number of folders."""
    parts = pattern.split("/")
    fixed = next(i for i, part in enumerate(parts) if _GLOB.search(part))
    selector = fs.FileSelector("/".join(parts[:fixed]) or "/", recursive=True, allow_not_found=True)
    wanted = parts[fixed:]
    return [
        info
        for info in filesystem.get_file_info(selector)
        if _matches(info.path.split("/")[fixed:], wanted) and not hidden(info.path, fixed)
    ]


def _matches(parts: list[str], wanted: list[str]) -> bool:
    if not wanted:
        return not parts
    if wanted[0] == "**":
        return any(_matches(parts[i:], wanted[1:]) for i in range(len(parts) + 1))
    return bool(parts) and fnmatch.fnmatchcase(parts[0], wanted[0]) and _matches(parts[1:], wanted[1:])


def _folder(filesystem: fs.FileSystem, path: str) -> list[fs.FileInfo]:
    infos = filesystem.get_file_info(fs.FileSelector(path, recursive=True))
    depth = path.count("/") + 1
    return tweet_files([info for info in infos if info.type == fs.FileType.File and not hidden(info.path, depth)])


def tweet_files(files: list[fs.FileInfo]) -> list[fs.FileInfo]:
    """Returns the files to read of a folder or archive: all, but of account exports only the parts that hold tweets.

    An X export has its parts beside account.js, or in a folder data/, together with assets and an HTML viewer.
    An export from before 2018 has them in data/js/tweets/, or only in tweets.csv.
    """
    parts = {parent(info.path) for info in files if _EXPORT_PART.fullmatch(info.base_name)}
    new = {parent(info.path) for info in files if info.base_name == "account.js"}
    new |= {folder for folder in parts if _within(folder, "data")}
    old = {parent(info.path) for info in files if info.base_name == "user_details.js"}
    months = {folder for info in files if _within(folder := parent(info.path), _MONTHS)}
    old |= {parent(folder) for folder in months}
    roots = {_without(folder, "data") for folder in new} | {_without(folder, "data/js") for folder in old}
    full = {_without(folder, _MONTHS) for folder in months}

    # exports of other networks hold likes, messages and the like beside the posts
    outboxes = {parent(info.path) for info in files if info.base_name == "outbox.json"}
    mastodon = {parent(info.path) for info in files if info.base_name == "actor.json"} & outboxes
    reddit = {parent(info.path) for info in files if info.base_name in _REDDIT_SIGNS}
    threads = {parent(info.path) for info in files if info.base_name == THREADS_FILE}
    roots_of_threads = {_without(folder, _THREADS_FOLDER) for folder in threads if _within(folder, _THREADS_FOLDER)}
    instagram = {f"{root}/{name}" if root else name for root in roots_of_threads for name in _INSTAGRAM_FOLDERS}

    def holds_tweets(info: fs.FileInfo) -> bool:
        folder = parent(info.path)
        if folder in mastodon:
            return info.base_name == "outbox.json"
        if folder in threads or any(_below(info.path, root) for root in instagram):
            return info.base_name == THREADS_FILE
        if folder in reddit and _REDDIT_OTHERS.fullmatch(info.base_name):
            return False
        if _EXPORT_PART.fullmatch(info.base_name) or not any(_below(info.path, root) for root in roots):
            return True
        return folder in months or (info.base_name == "tweets.csv" and folder not in full)

    return [info for info in files if holds_tweets(info)]


def parent(path: str) -> str:
    """Returns the folder of a path; "" if the path has no folder."""
    return path.rpartition("/")[0]


def beside(path: str, name: str) -> str:
    """Returns the path of `name` in the folder of `path`."""
    return f"{parent(path)}/{name}" if "/" in path else name


def _within(folder: str, names: str) -> bool:
    return folder == names or folder.endswith(f"/{names}")


def _without(folder: str, names: str) -> str:
    return folder.removesuffix(names).removesuffix("/") if _within(folder, names) else folder


def _below(path: str, root: str) -> bool:
    return not root or path.startswith(f"{root}/")


def hidden(path: str, depth: int = 0) -> bool:
    """Whether a part of the path after the first `depth` parts is hidden: it begins with a dot or __MACOSX."""
    return any(part.startswith((".", "__MACOSX")) for part in path.split("/")[depth:])


def _file(filesystem: fs.FileSystem, info: fs.FileInfo, source: TweetSource) -> TweetFile:
    handle = source.handle or owner(filesystem, info.path)
    mtime = info.mtime_ns / 1e9 if info.mtime_ns else 0.0
    return TweetFile(
        info.path,
        handle,
        info.size or 0,
        mtime,
        filesystem,
        named=source.handle is not None,
        columns={str(ours): theirs for ours, theirs in source.columns.items()},
        users=resolve(source.users)[1] if source.users else None,
        repair=source.repair,
        consent=source.consent == "own",
    )


def owner(filesystem: fs.FileSystem, path: str, archive: str = "") -> str | None:
    """Returns the handle in the file's name, or `export_handle` for a part of an X export; None if there is none."""
    if _EXPORT_PART.fullmatch(path.rpartition("/")[2]) or _within(parent(path), _MONTHS):
        return export_handle(filesystem, path, archive)
    if path.rpartition("/")[2] == THREADS_FILE:
        return None  # threads.py knows where its account is named
    stem = _stem(path)
    short = stem.removesuffix("_tweets")  # the file names of tweet_dumper
    return handle_of(short if len(stem) > _LONGEST_NAME >= len(short) else stem)


def _stem(path: str) -> str:
    return _SUFFIXES.sub("", path.rpartition("/")[2])


def export_handle(filesystem: fs.FileSystem, path: str, archive: str = "") -> str | None:
    """Returns the handle of an export: from account.js beside the part `path`, else from the nearest folder.

    That is the innermost folder whose name is a handle. `archive` is the zip file that contains `path`, if any; its
    name counts as a folder.
    """
    account = account_of(filesystem, path) or {}
    known = handle_of(str(account.get("username") or account.get("screen_name") or ""))
    inside = _without(parent(path), _MONTHS).split("/")
    outside = _stem(archive).split("/") if archive else []
    folders = [*parent(archive).split("/"), *outside, *inside]
    names = (name for name in reversed(folders) if name != "data")
    return known or next((handle for name in names if (handle := handle_of(name))), None)


def account_of(filesystem: fs.FileSystem, path: str) -> JsonObject | None:
    """Returns the account object in the account.js or user_details.js of the export of `path`, or None."""
    for name in ("account.js", "../user_details.js", "data/js/user_details.js"):
        folder = path if not name.startswith("../") else parent(path)
        data = read_small(filesystem, beside(folder, name.removeprefix("../")))
        try:
            text = data.decode("utf-8-sig")
            found = json.loads(text[text.index("=") + 1 :].strip().rstrip(";"))
            found = found[0]["account"] if isinstance(found, list) else found
            if isinstance(found, dict):
                return found
        except (ValueError, LookupError, TypeError, RecursionError):
            continue
    return None


def read_small(filesystem: fs.FileSystem, path: str, most: int = 2**20) -> bytes:
    """Returns the content of a file; empty if it is missing, unreadable or larger than `most` bytes."""
    try:
        with filesystem.open_input_file(path) as file:
            data = bytes(file.read(most + 1))
            return data if len(data) <= most else b""
    except (OSError, ValueError):
        return b""
