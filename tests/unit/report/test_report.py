"""report.json and report.html: one row for every bot, in the form that scripts read."""

import json
import re
from xml.etree import ElementTree

import pytest
from pyarrow import fs

from pipeline.core.store import Store
from pipeline.plan.bot import Bot
from pipeline.prepare.index import Person
from pipeline.report import files
from pipeline.report.files import write_report
from pipeline.report.fleet_plots import FEW
from pipeline.report.page import page
from pipeline.report.rows import Report, remarks, row_of

COUNTS = {"downloaded": 3200, "retweets": 770, "short": 3, "kept": 2427}
METRICS = {"held_out": {"loss": 3.12345, "base_loss": 4.5, "perplexity": 22.7}}


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(fs.LocalFileSystem(), str(tmp_path))


def wren() -> Bot:
    people = [Person("wren", COUNTS, 50_000, 12_000, "digest")]
    return Bot("wren", people, "0123456789ab", "trained", metrics=METRICS, seconds={"train": 1.5})


def failed(reason: str = "no posts of @lark") -> Bot:
    return Bot("lark", [], status="failed", reason=reason)


def test_report_json_has_a_row_for_every_bot_in_the_documented_form(store):
    written = write_report(store, "birds", [failed(), wren()], {"prepare": 2.0})
    assert json.loads(store.read("report.json")) == written
    assert (written["fleet"], written["seconds"]) == ("birds", {"prepare": 2.0})
    bad, good = written["bots"]
    documented = {"bot", "status", "reason", "version", "tweets", "metrics", "seconds"}
    assert documented <= set(bad) == set(good)
    assert (bad["bot"], bad["status"], bad["reason"], bad["version"]) == ("lark", "failed", "no posts of @lark", None)
    assert (good["bot"], good["status"], good["reason"]) == ("wren", "trained", None)
    assert good["tweets"] == {"wren": COUNTS}
    assert (good["metrics"], good["seconds"]) == (METRICS, {"train": 1.5})


def test_report_json_keeps_names_and_reasons_readable(store):
    write_report(store, "birds", [failed("/daten/vögel.csv: no such file")], {})
    assert "vögel" in store.read("report.json").decode("utf-8")


def test_report_html_shows_every_bot_and_lets_no_markup_through(store):
    write_report(store, "birds", [failed("<script>alert(1)</script> & more"), wren()], {})
    page = store.read("report.html").decode("utf-8")
    assert "<script>" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; more" in page
    assert re.findall(r'<tbody data-bot="(.*?)">', page) == ["lark", "wren"]  # the failed one first


MANY = {
    "held_out": {"loss": 3.1, "loss_interval": [3.0, 3.2], "base_loss": 4.5},
    "voice": {"top1": 0.75, "real_top1": 0.8, "people": 2, "samples": 64, "attributed": [["wren", 48], ["lark", 16]]},
    "authorship": {"people": 2, "value": 0.9, "standard_error": 0.1, "base_value": -0.2},
    "sense": {"nats": 1.9, "base_nats": 1.2, "real_nats": 1.6, "ratio": 1.19, "unknown_words": 0.081}
    | {"base_unknown_words": 0.01, "real_unknown_words": 0.05},
    "real_or_bot": {"accuracy": 0.71, "standard_error": 0.05, "pairs": 30, "base_accuracy": 0.9, "real_accuracy": None},
    "copying": {"long_runs": 0.05},
    "memory": {"auc": 0.64, "standard_error": 0.04, "private": 0.03},
    "variety": {"distinct_2": 0.9},
    "safety": {"mentions": 0.1},
    "samples": {"My dream is": ["My dream is <i>flight</i>"], "": ["Chirp & chirp"]},
}


def fleet_of(count: int, metrics: dict = MANY) -> Report:
    bots = [
        Bot(f"bird{i}", [Person(f"bird{i}", COUNTS, 1, 1, "")], "v", "trained", metrics=metrics) for i in range(count)
    ]
    return {"fleet": "birds", "seconds": {"train": 3.0}, "bots": [row_of(bot) for bot in bots]}


@pytest.mark.parametrize("count", [1, 4, 40, 41, 400])
def test_the_page_stands_alone_and_its_plots_are_whole(count):
    points = {f"bird{i}": [i / count, -i / count] for i in range(count)}
    shown = page(fleet_of(count), points, [("bird0", 2, 0.01), ("bird0", 4, 0.05)])
    assert not re.search(r"""(?:src|href)=|url\(|@import""", shown)
    assert "My dream is &lt;i&gt;flight&lt;/i&gt;" in shown and "Chirp &amp; chirp" in shown
    svgs = re.findall(r"<svg.*?</svg>", shown, re.DOTALL)
    assert len(svgs) == (10 if count <= FEW else 11)
    for svg in svgs:
        ElementTree.fromstring(svg)
        assert "nan" not in svg


def test_the_page_says_how_often_bots_are_told_from_their_people_where_it_was_measured():
    shown = page(fleet_of(3), {}, [])
    assert "<h2>Real or bot</h2>" in shown and "71% ± 5% (base 90%)" in shown and "50 % would be perfect" in shown
    unknown = {"accuracy": None, "standard_error": None, "pairs": 3, "base_accuracy": None, "real_accuracy": None}
    for metrics in (MANY | {"real_or_bot": unknown}, {key: MANY[key] for key in MANY if key != "real_or_bot"}):
        older = page(fleet_of(3, metrics), {}, [])
        assert "Real or bot" not in older and "<h2>Voice</h2>" in older
    without_base = MANY["real_or_bot"] | {"base_accuracy": None}
    assert "<h2>Real or bot</h2>" in page(fleet_of(3, MANY | {"real_or_bot": without_base}), {}, [])


def test_the_page_shows_the_authorship_where_it_is_known():
    shown = page(fleet_of(3), {}, [])
    assert "<h2>Authorship</h2>" in shown and "0.90 ± 0.10 (base -0.20)" in shown and "median authorship" in shown
    unknown = {"people": 1, "value": None, "standard_error": None, "base_value": None}
    for metrics in (MANY | {"authorship": unknown}, {key: MANY[key] for key in MANY if key != "authorship"}):
        assert "uthorship" not in page(fleet_of(3, metrics), {}, [])


def test_the_page_shows_the_sense_where_it_is_known():
    shown = page(fleet_of(3), {}, [])
    assert "<h2>Sense</h2>" in shown and "1.90 (real tweets 1.60)" in shown and "8.1% (real tweets 5.0%)" in shown
    older = page(fleet_of(3, {key: MANY[key] for key in MANY if key != "sense"}), {}, [])
    assert "Sense" not in older and "unknown words" not in older


def test_the_page_shows_the_memory_where_it_is_known():
    shown = page(fleet_of(3), {}, [])
    assert "<h2>Memory</h2>" in shown and "0.64 ± 0.04" in shown and "private data" in shown
    for metrics in (MANY | {"memory": {"auc": None}}, {key: MANY[key] for key in MANY if key != "memory"}):
        assert "Memory" not in page(fleet_of(3, metrics), {}, [])


def test_a_large_fleets_page_lists_the_failed_and_says_what_it_leaves_out():
    large = fleet_of(1500)
    large["bots"].append(row_of(failed("no luck")))
    shown = page(large, {}, [])
    assert '<tbody data-bot="lark">' in shown and "501 further bots" in shown
    assert shown.count("<tbody") == 1000
    assert len(shown) < 3_000_000


def test_copied_runs_are_shown_against_epochs_for_all_versions_in_the_store(store):
    def add(version: str, epochs: int, share: float) -> str:
        store.write(f"bots/wren/{version}/provenance.json", json.dumps({"settings": {"epochs": epochs}}).encode())
        store.write(f"bots/wren/{version}/metrics.json", json.dumps({"copying": {"long_runs": share}}).encode())
        write_report(store, "birds", [wren()], {})
        return store.read("report.html").decode()

    assert "Copied runs against epochs" not in add("a" * 12, 2, 0.01)
    assert "Copied runs against epochs" not in add("b" * 12, 2, 0.02)  # there is nothing to compare yet
    shown = add("c" * 12, 8, 0.5)
    assert "Copied runs against epochs" in shown and "wren: epochs 8, share of samples 0.5" in shown


def test_a_bot_that_was_continued_says_what_that_gained_in_loss_and_in_time(store):
    bot = wren()
    continued = {"from": "v1", "loss_before": 3.2, "new_tweets": 120, "old_tweets": 2000, "seconds_to_start_over": 60.0}
    bot.metrics = METRICS | {"continued": continued, "train": {"seconds": 15.0}}
    [row] = write_report(store, "birds", [bot], {})["bots"]
    remark = "continued with 120 new tweets: loss 3.200 → 3.123 in 15.0 s (starting over takes about 60.0 s)"
    page = store.read("report.html").decode("utf-8")
    assert remarks(row) == [remark]
    assert remark in page and "starting over takes about 60 s" in page
    bot.metrics = METRICS | {"started_over": {"from": "v1", "reason": "3 of the tweets are gone"}}
    assert remarks(row_of(bot)) == ["started over: 3 of the tweets are gone"]
    bot.metrics = METRICS | {"lowered_rate": {"recipe": 1e-3, "used": 2.5e-4}}
    assert remarks(row_of(bot)) == ["diverged at the recipe's learning rate, trained with 0.00025"]


def test_a_large_fleets_rows_lack_the_samples_which_its_page_shows(store, monkeypatch):
    monkeypatch.setattr(files, "WITH_SAMPLES", 1)
    talking = wren()
    talking.metrics = METRICS | {"samples": {"": ["a bird in the hand"]}}
    assert write_report(store, "birds", [talking], {})["bots"][0]["metrics"] == talking.metrics
    written = write_report(store, "birds", [failed(), talking], {})
    assert written["bots"][1]["metrics"] == METRICS
    assert json.loads(store.read("report.json")) == written
    assert sum(line.startswith(b'{"bot":') for line in store.read("report.json").splitlines()) == 2
    assert "a bird in the hand" in store.read("report.html").decode()
    assert "samples" in talking.metrics
