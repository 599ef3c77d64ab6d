"""The fleet file's `tweets` entries as files: which ones are found, and whose tweets they hold."""

import gzip
import json
from pathlib import Path

import pytest
from pyarrow import fs

from pipeline.core.settings import TweetSource
from pipeline.tweets import OTHERS, Record, files, find, read, read_batches
from pipeline.tweets.files import TweetFile


def put(path: Path, content: str = "text\nthree plain words\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")
    return path


def found(*paths: object) -> list[TweetFile]:
    return find([TweetSource(path=str(path)) for path in paths])


def names(items: list[TweetFile], root: Path) -> list[str]:
    return [str(Path(item.path).relative_to(root)) for item in items]


def export(folder: Path, username: str | None = None, part: str = "tweets.js") -> Path:
    """An unpacked X export: parts in data/, a page to read it with, and account.js where `username` is given."""
    put(folder / "Your archive.html", "<html></html>")
    put(folder / "data" / "like.js", "window.YTD.like.part0 = []")
    if username is not None:
        account = [{"account": {"username": username, "accountId": "1"}}]
        put(folder / "data" / "account.js", f"window.YTD.account.part0 = {json.dumps(account)}\n")
    return put(folder / "data" / part, "window.YTD.tweets.part0 = []")


def test_a_file_belongs_to_its_stem_in_lower_case(tmp_path):
    [file] = found(put(tmp_path / "Wren_1.csv"))
    assert (file.handle, file.problem) == ("wren_1", None)
    assert file.size == (tmp_path / "Wren_1.csv").stat().st_size
    assert file.mtime == pytest.approx((tmp_path / "Wren_1.csv").stat().st_mtime)


def test_a_stem_that_only_tweets_makes_too_long_is_shortened(tmp_path):
    assert found(put(tmp_path / "WrenOfTheFerry_tweets.csv"))[0].handle == "wrenoftheferry"
    assert found(put(tmp_path / "wren_tweets.csv"))[0].handle == "wren_tweets"


@pytest.mark.parametrize("name", ["wren.jsonl.gz", "wren.json", "wren.CSV", "wren.csv.zst", "wren.ndjson", "wren"])
def test_file_extensions_are_not_part_of_the_handle(tmp_path, name):
    assert found(put(tmp_path / name))[0].handle == "wren"


def test_a_file_whose_stem_is_no_handle_has_no_owner(tmp_path):
    assert found(put(tmp_path / "all my tweets.csv"))[0].handle is None


def test_the_handle_in_the_fleet_file_wins_over_the_stem(tmp_path):
    path = put(tmp_path / "robin.csv")
    [file] = find([TweetSource(path=str(path), handle="wren")])
    assert file.handle == "wren"


def test_a_glob_stays_within_a_folder_and_two_stars_cross_folders(tmp_path):
    for name in ("wren.csv", "robin.json", "old/lark.csv", "old/older/owl.csv"):
        put(tmp_path / name)
    assert names(found(tmp_path / "*.csv"), tmp_path) == ["wren.csv"]
    assert names(found(tmp_path / "*/*.csv"), tmp_path) == ["old/lark.csv"]
    assert names(found(tmp_path / "**/*.csv"), tmp_path) == ["old/lark.csv", "old/older/owl.csv", "wren.csv"]
    assert names(found(tmp_path / "[r-w]*.*"), tmp_path) == ["robin.json", "wren.csv"]


def test_a_glob_that_matches_folders_takes_the_files_in_them(tmp_path):
    put(tmp_path / "a1" / "wren.csv")
    put(tmp_path / "a2" / "deep" / "robin.csv")
    assert names(found(tmp_path / "a*"), tmp_path) == ["a1/wren.csv", "a2/deep/robin.csv"]


def test_a_file_with_brackets_in_its_name_is_found_by_that_name(tmp_path):
    [file] = found(put(tmp_path / "wren[1].csv"))
    assert (Path(file.path).name, file.problem) == ("wren[1].csv", None)


def test_a_folder_is_taken_with_all_below_it_but_not_with_what_is_hidden(tmp_path):
    for name in ("wren.csv", "old/robin.csv", ".git/config", "old/.DS_Store", "__MACOSX/wren.csv"):
        put(tmp_path / "birds" / name)
    assert names(found(tmp_path / "birds"), tmp_path / "birds") == ["old/robin.csv", "wren.csv"]


def test_a_folder_inside_a_hidden_one_can_be_named(tmp_path):
    put(tmp_path / ".cache" / "wren.csv")
    assert names(found(tmp_path / ".cache"), tmp_path) == [".cache/wren.csv"]


def test_a_file_named_twice_is_read_once_and_the_order_is_fixed(tmp_path):
    wren, robin = put(tmp_path / "wren.csv"), put(tmp_path / "robin.csv")
    assert names(found(wren, robin, tmp_path / "*.csv", tmp_path), tmp_path) == ["robin.csv", "wren.csv"]
    assert found(wren, robin) == found(robin, wren)


@pytest.mark.parametrize(
    "entry, handle, problem",
    [
        ("wren.csv", "wren", "no such file"),
        ("birds/*.csv", None, "no file matches"),
        ("empty", "empty", "no file in the folder"),
        ("nowhere://x/robin.csv", "robin", "no such storage"),
    ],
)
def test_a_source_without_files_is_a_problem_and_not_an_error(tmp_path, entry, handle, problem):
    (tmp_path / "empty").mkdir()
    path = entry if "://" in entry else str(tmp_path / entry)
    [file] = found(path)
    assert (file.path, file.handle) == (path, handle)
    assert problem in (file.problem or "")


def test_a_missing_source_does_not_cost_the_others(tmp_path):
    problems = [file.problem for file in found(put(tmp_path / "wren.csv"), tmp_path / "zz.csv")]
    assert problems == [None, "no such file"]


def test_a_file_uri_is_the_same_as_its_path(tmp_path):
    path = put(tmp_path / "wren.csv")
    assert [file.path for file in found(f"file://{path}")] == [str(path)]


def test_an_exports_handle_is_in_account_js(tmp_path):
    path = export(tmp_path / "robin", username="Wren_1")
    assert [(file.path, file.handle) for file in found(tmp_path / "robin")] == [(str(path), "wren_1")]


def test_an_exports_parts_are_found_one_by_one_too(tmp_path):
    path = export(tmp_path / "robin", username="wren", part="tweets-part1.js")
    assert [file.handle for file in found(path)] == ["wren"]


def test_of_an_export_only_the_parts_with_tweets_are_read(tmp_path):
    for part in ("tweets.js", "tweets-part1.js", "tweets-part12.js", "tweet-headers.js", "deleted-tweets.js"):
        export(tmp_path / "wren", username="wren", part=part)
    assert names(found(tmp_path / "wren"), tmp_path / "wren" / "data") == [
        "tweets-part1.js",
        "tweets-part12.js",
        "tweets.js",
    ]


def test_exports_beside_each_other_keep_their_owners_and_leave_other_files_alone(tmp_path):
    export(tmp_path / "all" / "one", username="wren")
    export(tmp_path / "all" / "two", username="robin")
    put(tmp_path / "all" / "lark.csv")
    assert [file.handle for file in found(tmp_path / "all")] == ["lark", "wren", "robin"]


def test_without_account_js_the_nearest_folder_named_like_a_handle_is_the_owner_and_data_never_is(tmp_path):
    export(tmp_path / "Wren" / "twitter-2024-01-01")
    export(tmp_path / "robin")
    handles = {Path(file.path).parts[-3]: file.handle for file in found(tmp_path)}
    assert handles == {"twitter-2024-01-01": "wren", "robin": "robin"}


@pytest.mark.parametrize("account", ["", "window.YTD.account.part0 = [", "x = []", 'x = [{"account": 1}]', "no list"])
def test_a_broken_account_js_counts_as_missing(tmp_path, account):
    export(tmp_path / "wren")
    put(tmp_path / "wren" / "data" / "account.js", account)
    assert [file.handle for file in found(tmp_path / "wren")] == ["wren"]


def test_the_handle_in_the_fleet_file_wins_over_account_js(tmp_path):
    export(tmp_path / "robin", username="robin")
    [file] = find([TweetSource(path=str(tmp_path / "robin"), handle="wren")])
    assert file.handle == "wren"


def test_an_export_that_nothing_gives_a_handle_to_asks_for_one(tmp_path, monkeypatch):
    # in a file system that begins here, no folder above is named like a handle by accident, as /tmp is
    export(tmp_path / "twitter-2024-01-01")
    here = fs.SubTreeFileSystem(str(tmp_path), fs.LocalFileSystem())
    monkeypatch.setattr(files, "resolve", lambda path: (here, path))
    [file] = found("twitter-2024-01-01")
    assert (file.handle, file.problem) == (None, None)
    [reject] = read(file)
    assert "{path: …, handle: …}" in reject.reason


def test_an_object_store_is_read_as_a_disk_is(s3, tmp_path):
    from pipeline.core.store import resolve
    from tests.support.tweet_samples import export_files, zipped

    filesystem, root = resolve("s3://fleets/tweets")
    contents = {
        "birds/wren.csv": b"text\nfrom a folder\n",
        "birds/old/robin.jsonl.gz": gzip.compress(b'{"text": "from a folder"}\n'),
        "mine.zip": zipped(export_files()),
    }
    for name, content in contents.items():
        with filesystem.open_output_stream(f"{root}/{name}", compression=None) as file:
            file.write(content)
    for entry, handles in {
        "birds": ["robin", "wren"],
        "birds/*.csv": ["wren"],
        "**/*.gz": ["robin"],
        "mine.zip": ["wren", "wren"],
        "birds/lark.csv": [],
    }.items():
        items = [item for file in found(f"s3://fleets/tweets/{entry}") if not file.problem for item in read(file)]
        assert [item.handle for item in items if isinstance(item, Record)] == handles, entry
    assert found("s3://fleets/tweets/birds/lark.csv")[0].problem == "no such file"


def test_only_the_accounts_of_the_people_asked_for_are_read_and_the_others_are_counted(tmp_path):
    rows = ["wren,soup is late", "wren_x,soup is early", "owl,no soup at all", "stork,what soup"]
    (tmp_path / "all.csv").write_text("\n".join(["user,text", *rows]))
    sources = [TweetSource(path=str(tmp_path / "all.csv"))]
    [file] = find(sources, {"wren_x": "wren"}, frozenset({"stork"}), only=frozenset({"wren", "stork"}))
    [batch] = read_batches(file)
    assert batch.records["handle"].to_pylist() == ["wren", "wren_x"]
    assert [(notice.what, notice.number) for notice in batch.notices] == [(OTHERS, 1)]  # not her who was left out
