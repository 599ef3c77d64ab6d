"""The report as a table on a terminal of 80 columns, and of others."""

import io
import re

import pytest
from rich.console import Console

from pipeline.plan.bot import Bot
from pipeline.prepare.index import Person
from pipeline.report import terminal
from pipeline.report.rows import row_of

COUNTS = {"downloaded": 3200, "retweets": 770, "short": 3, "kept": 2427}
METRICS = {"held_out": {"loss": 3.12345, "base_loss": 4.5, "perplexity": 22.7}}
MEASURED = METRICS | {"voice": {"top1": 0.75}, "copying": {"long_runs": 0.05}}


def bot_of(name: str, warning: str | None = None) -> Bot:
    people = [Person(handle, COUNTS, 50_000, 12_000, "digest") for handle in name.split("-")]
    return Bot(name, people, "0123456789ab", "trained", warning=warning, metrics=MEASURED)


def wren() -> Bot:
    return bot_of("wren")


def failed(reason: str = "no posts of @lark") -> Bot:
    return Bot("lark", [], status="failed", reason=reason)


def printed(bots: list[Bot], width: int = 80, **options) -> str:
    screen = io.StringIO()
    report = {"fleet": "birds", "seconds": {}, "bots": [row_of(bot) for bot in bots]}
    terminal.show(Console(file=screen, width=width), report, **options)
    return screen.getvalue()


def test_a_row_shows_kept_tweets_of_all_its_people_and_the_loss_before_and_after():
    people = [Person(handle, COUNTS, 50_000, 12_000, "digest") for handle in ("lark", "wren")]
    blend = Bot("lark-wren", people, "0123456789ab", "trained", warning="little text", metrics=METRICS)
    assert dict(zip(terminal.COLUMNS, terminal.cells(row_of(blend)), strict=True)) == {
        "bot": "lark-wren",
        "status": "trained",
        "version": "0123456789ab",
        "tweets kept": "4,854",
        "loss before": "4.500",
        "loss after": "3.123",
        "voice": "",
        "copied runs": "",
    }


def test_what_is_not_known_yet_is_an_empty_cell():
    assert terminal.cells(row_of(failed())) == ["lark", "failed", "", "0", "", "", "", ""]


def test_one_line_says_how_often_samples_are_told_from_real_tweets():
    bots = [bot_of(name) for name in ("lark", "wren", "tern")]
    assert "told from" not in printed(bots)
    for bot, accuracy in zip(bots, (0.6, 0.71, None), strict=True):
        bot.metrics = MEASURED | {"real_or_bot": {"accuracy": accuracy}}
    assert "in the median, 66% of the time (50% would be perfect)" in printed(bots)
    assert "samples are told from real tweets 60% of the time" in printed(bots[:1])


@pytest.mark.parametrize("endpoints", [None, {"wren": "http://127.0.0.1:8000/bots/wren"}])
def test_the_table_has_each_bot_and_its_endpoint_where_asked(endpoints):
    shown = printed([failed(), wren()], endpoints=endpoints)
    assert all(text in shown for text in ("fleet birds", "wren", "lark", "2,427", "3.123", "no posts of @lark"))
    assert ("http://127.0.0.1:8000/bots/wren" in shown) == (endpoints is not None)


@pytest.mark.parametrize("width", [80, 200])
def test_names_are_shortened_and_numbers_never(width):
    blend = bot_of("-".join(f"person{i}" for i in range(9)))
    lines = printed([blend, wren()], width=width).splitlines()
    [long] = [line for line in lines if line.startswith("person0") and "trained" in line]
    assert ("…" in long) == (width < 120) and len(long) <= width
    for line in (long, next(line for line in lines if line.startswith("wren"))):
        assert re.search(r"trained +0123456789ab +[\d,]+ +4.500 +3.123 +75% +5%", line)


def test_a_short_name_is_whole_in_80_columns():
    assert "captain_brine " in printed([bot_of("captain_brine")])


def test_one_line_sums_up_the_warnings():
    bots = [bot_of(f"bird{i}", warning=f"only {i},000 characters") for i in range(1, 4)]
    warnings = [line for line in printed(bots).splitlines() if "characters" in line]
    assert warnings == ["3 bots have a warning, such as bird1: only 1,000 characters (report.html has all of them)"]
    assert "bird1: only 1,000 characters\n" in printed(bots[:1])


def test_only_the_bots_that_are_asked_for_are_shown():
    shown = printed([failed(), wren(), bot_of("stork", warning="only 9,000 characters")], only=["wren"])
    assert "fleet birds: 1 of 3 bots" in shown and "wren" in shown
    assert not any(word in shown for word in ("lark", "stork", "characters"))


def test_a_bot_that_was_continued_says_so_below_the_table():
    bot = wren()
    bot.metrics = bot.metrics | {"started_over": {"from": "v1", "reason": "3 of the tweets are gone"}}
    assert "wren: started over: 3 of the tweets are gone" in printed([bot])


def test_the_table_of_a_large_fleet_has_some_of_the_bots_the_failed_ones_first(monkeypatch):
    monkeypatch.setattr(terminal, "_LISTED", 2)
    shown = printed([wren(), bot_of("stork"), failed()])
    assert "lark" in shown and "wren" in shown and "stork" not in shown
    assert "and 1 bots more; report.json has all of them" in shown
