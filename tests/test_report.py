"""report.json and report.html: one row for every bot, in the form that scripts read."""

import io
import json

import pytest
from pyarrow import fs
from rich.console import Console

from pipeline import report
from pipeline.plan import Bot
from pipeline.prepare import Person
from pipeline.store import Store

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
    written = report.write(store, "birds", [failed(), wren()], {"prepare": 2.0})
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
    report.write(store, "birds", [failed("/daten/vögel.csv: no such file")], {})
    assert "vögel" in store.read("report.json").decode("utf-8")


def test_report_html_shows_every_bot_and_lets_no_markup_through(store):
    report.write(store, "birds", [failed("<script>alert(1)</script> & more"), wren()], {})
    page = store.read("report.html").decode("utf-8")
    assert "<script>" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; more" in page
    assert "<td>wren</td>" in page
    assert page.count("<tr>") == 3


def test_a_row_shows_kept_tweets_of_all_its_people_and_the_loss_before_and_after(store):
    people = [Person(handle, COUNTS, 50_000, 12_000, "digest") for handle in ("lark", "wren")]
    blend = Bot("lark-wren", people, "0123456789ab", "trained", warning="little text", metrics=METRICS)
    [row] = report.write(store, "birds", [blend], {})["bots"]
    assert dict(zip(report.COLUMNS, report.cells(row), strict=True)) == {
        "bot": "lark-wren",
        "status": "trained",
        "version": "0123456789ab",
        "tweets kept": "4,854",
        "loss before": "4.500",
        "loss after": "3.123",
        "voice": "",
        "copies": "",
        "remark": "little text",
    }


def test_what_is_not_known_yet_is_an_empty_cell(store):
    [row] = report.write(store, "birds", [failed()], {})["bots"]
    assert report.cells(row) == ["lark", "failed", "", "0", "", "", "", "", "no tweets of @lark"]


@pytest.mark.parametrize("endpoints", [None, {"wren": "http://127.0.0.1:8000/bots/wren"}])
def test_the_table_has_each_bot_and_its_endpoint_where_asked(store, endpoints):
    written = report.write(store, "birds", [failed(), wren()], {})
    screen = io.StringIO()
    Console(file=screen, width=200).print(report.table(written, endpoints))
    shown = screen.getvalue()
    assert all(text in shown for text in ("fleet birds", "wren", "lark", "2,427", "3.123", "no tweets of @lark"))
    assert ("endpoint" in shown) == ("http://127.0.0.1:8000/bots/wren" in shown) == (endpoints is not None)
