"""report.json and report.html: one row for every bot, in the form that scripts read."""

import io
import json
import re
from xml.etree import ElementTree

import pytest
from pyarrow import fs
from rich.console import Console

from pipeline.core.store import Store
from pipeline.plan.bots import Bot
from pipeline.prepare.index import Person
from pipeline.report import files, table
from pipeline.report.page import FEW
from tests.support.browser import chromium

COUNTS = {"downloaded": 3200, "retweets": 770, "short": 3, "kept": 2427}
METRICS = {"held_out": {"loss": 3.12345, "base_loss": 4.5, "perplexity": 22.7}}


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(fs.LocalFileSystem(), str(tmp_path))


def wren() -> Bot:
    people = [Person("wren", COUNTS, 50_000, 12_000, "digest")]
    return Bot("wren", people, "0123456789ab", "trained", metrics=METRICS, seconds={"train": 1.5})


def failed(reason: str = "no tweets of @lark") -> Bot:
    return Bot("lark", [], status="failed", reason=reason)


def test_report_json_has_a_row_for_every_bot_in_the_documented_form(store):
    written = files.write(store, "birds", [failed(), wren()], {"prepare": 2.0})
    assert json.loads(store.read("report.json")) == written
    assert (written["fleet"], written["seconds"]) == ("birds", {"prepare": 2.0})
    bad, good = written["bots"]
    documented = {"bot", "status", "reason", "version", "tweets", "metrics", "seconds"}
    assert documented <= set(bad) == set(good)
    assert (bad["bot"], bad["status"], bad["reason"], bad["version"]) == ("lark", "failed", "no tweets of @lark", None)
    assert (good["bot"], good["status"], good["reason"]) == ("wren", "trained", None)
    assert good["tweets"] == {"wren": COUNTS}
    assert (good["metrics"], good["seconds"]) == (METRICS, {"train": 1.5})


def test_report_json_keeps_names_and_reasons_readable(store):
    files.write(store, "birds", [failed("/daten/vögel.csv: no such file")], {})
    assert "vögel" in store.read("report.json").decode("utf-8")


def test_report_html_shows_every_bot_and_lets_no_markup_through(store):
    files.write(store, "birds", [failed("<script>alert(1)</script> & more"), wren()], {})
    page = store.read("report.html").decode("utf-8")
    assert "<script>" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; more" in page
    assert "<td>wren</td>" in page
    assert page.count("<tr>") == 3


def test_a_row_shows_kept_tweets_of_all_its_people_and_the_loss_before_and_after(store):
    people = [Person(handle, COUNTS, 50_000, 12_000, "digest") for handle in ("lark", "wren")]
    blend = Bot("lark-wren", people, "0123456789ab", "trained", warning="little text", metrics=METRICS)
    [row] = files.write(store, "birds", [blend], {})["bots"]
    assert dict(zip(table.COLUMNS, table.cells(row), strict=True)) == {
        "bot": "lark-wren",
        "status": "trained",
        "version": "0123456789ab",
        "tweets kept": "4,854",
        "loss before": "4.500",
        "loss after": "3.123",
        "voice": "",
        "copies": "",
    }


def test_what_is_not_known_yet_is_an_empty_cell(store):
    [row] = files.write(store, "birds", [failed()], {})["bots"]
    assert table.cells(row) == ["lark", "failed", "", "0", "", "", "", ""]


@pytest.mark.parametrize("endpoints", [None, {"wren": "http://127.0.0.1:8000/bots/wren"}])
def test_the_table_has_each_bot_and_its_endpoint_where_asked(store, endpoints):
    written = files.write(store, "birds", [failed(), wren()], {})
    screen = io.StringIO()
    table.show(Console(file=screen, width=80), written, endpoints)
    shown = screen.getvalue()
    assert all(text in shown for text in ("fleet birds", "wren", "lark", "2,427", "3.123", "no tweets of @lark"))
    assert ("http://127.0.0.1:8000/bots/wren" in shown) == (endpoints is not None)


MANY = {
    "held_out": {"loss": 3.1, "loss_interval": [3.0, 3.2], "base_loss": 4.5},
    "voice": {"top1": 0.75, "real_top1": 0.8, "people": 2, "samples": 64, "attributed": [["wren", 48], ["lark", 16]]},
    "copying": {"long_runs": 0.05},
    "variety": {"distinct_2": 0.9},
    "safety": {"mentions": 0.1},
    "samples": {"My dream is": ["My dream is <i>flight</i>"], "": ["Chirp & chirp"]},
}


def fleet_of(count: int, metrics: dict = MANY) -> dict:
    bots = [
        Bot(f"bird{i}", [Person(f"bird{i}", COUNTS, 1, 1, "")], "v", "trained", metrics=metrics) for i in range(count)
    ]
    return {"fleet": "birds", "seconds": {"train": 3.0}, "bots": [files._row(bot) for bot in bots]}


@pytest.mark.parametrize("count", [1, 4, 40, 41, 400])
def test_the_page_stands_alone_and_its_plots_are_whole(count):
    points = {f"bird{i}": [i / count, -i / count] for i in range(count)}
    shown = files.page(fleet_of(count), points, [("bird0", 2, 0.01), ("bird0", 4, 0.05)])
    assert not re.search(r"""(?:src|href)=|url\(|@import""", shown)
    assert "My dream is &lt;i&gt;flight&lt;/i&gt;" in shown and "Chirp &amp; chirp" in shown
    svgs = re.findall(r"<svg.*?</svg>", shown, re.DOTALL)
    assert len(svgs) == (6 if count <= FEW else 7)
    for svg in svgs:
        ElementTree.fromstring(svg)
        assert "nan" not in svg


def test_a_large_fleets_page_lists_the_failed_and_says_what_it_leaves_out():
    large = fleet_of(1500)
    large["bots"].append(files._row(failed("no luck")))
    shown = files.page(large, {}, [])
    assert "<td>lark</td>" in shown and "501 further bots" in shown
    assert len(shown) < 3_000_000


def test_copies_are_shown_against_epochs_for_all_versions_in_the_store(store):
    for version, epochs, share in (("a" * 12, 2, 0.01), ("b" * 12, 8, 0.5)):
        store.write(f"bots/wren/{version}/provenance.json", json.dumps({"settings": {"epochs": epochs}}).encode())
        store.write(f"bots/wren/{version}/metrics.json", json.dumps({"copying": {"long_runs": share}}).encode())
    store.write("bots/wren/current", b"b" * 12)
    files.write(store, "birds", [wren()], {})
    assert "wren: epochs 8, share of samples 0.5" in store.read("report.html").decode()


def test_the_table_can_be_sorted_and_searched_in_a_browser(store, tmp_path):
    written = fleet_of(3)
    for row, loss in zip(written["bots"], (2.0, 10.0, 3.0), strict=True):
        row["metrics"] = MANY | {"held_out": MANY["held_out"] | {"loss": loss}}
    written["bots"].append(files._row(failed()))
    (tmp_path / "report.html").write_text(files.page(written, {}, []), encoding="utf-8")
    with chromium() as web:
        tab = web.new_page()
        problems: list[str] = []
        tab.on("pageerror", lambda error: problems.append(str(error)))
        tab.goto((tmp_path / "report.html").as_uri())

        def names() -> list[str]:
            return tab.locator("tbody tr:visible td:first-child").all_inner_texts()

        tab.get_by_role("button", name="after").click()
        assert names() == ["bird0", "bird2", "bird1", "lark"]
        tab.get_by_role("button", name="after").click()
        assert names() == ["bird1", "bird2", "bird0", "lark"]  # what is not known stays at the end
        tab.get_by_role("searchbox").fill("bird2")
        assert names() == ["bird2"]
        assert problems == []


def test_what_a_bot_gained_that_went_on_is_told_in_loss_and_in_time(store):
    bot = wren()
    told = {"from": "v1", "loss_before": 3.2, "new_tweets": 120, "old_tweets": 2000, "seconds_to_start_over": 60.0}
    bot.metrics = METRICS | {"continued": told, "train": {"seconds": 15.0}}
    written = files.write(store, "birds", [bot], {})
    said = "120 new tweets: loss 3.200 → 3.123, in 15.0 s, not 60.0"
    screen, page = io.StringIO(), store.read("report.html").decode("utf-8")
    table.show(Console(file=screen, width=80), written)
    assert f"wren: {said}" in screen.getvalue() and said in page and "to start over, 60 s" in page
    bot.metrics = METRICS | {"started_over": {"from": "v1", "reason": "3 of the tweets are gone"}}
    table.show(Console(file=screen, width=80), files.write(store, "birds", [bot], {}))
    assert "wren: started over: 3 of the tweets are gone" in screen.getvalue()
