"""report.html in a browser: sorting, searching, opening rows, and nothing that is cut off, at two widths."""

import random
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from pipeline.plan.bot import Bot
from pipeline.prepare.index import Person
from pipeline.report.page import page
from pipeline.report.rows import Report, row_of
from tests.support.browser import chromium
from tests.unit.report.test_report import MANY, failed, fleet_of

OUTSIDE = """[...document.querySelectorAll("svg")].flatMap(svg => {
  const all = svg.getBoundingClientRect()
  return [...svg.querySelectorAll("text")].filter(text => {
    const one = text.getBoundingClientRect()
    return one.left < all.left - 1 || one.right > all.right + 1 || one.top < all.top - 1 || one.bottom > all.bottom + 1
  }).map(text => text.textContent)
})"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


def test_the_table_can_be_sorted_and_searched(browser, tmp_path):
    written = fleet_of(3)
    for row, loss in zip(written["bots"], (2.0, 10.0, 3.0), strict=True):
        row["metrics"] = MANY | {"held_out": MANY["held_out"] | {"loss": loss}}
    written["bots"].append(row_of(failed()))
    (tmp_path / "report.html").write_text(page(written, {}, []), encoding="utf-8")
    tab = browser.new_page()
    problems: list[str] = []
    tab.on("pageerror", lambda error: problems.append(str(error)))
    tab.goto((tmp_path / "report.html").as_uri())

    def names() -> list[str]:
        return tab.locator("tbody:visible summary").all_inner_texts()

    tab.get_by_role("button", name="after").click()
    assert names() == ["bird0", "bird2", "bird1", "lark"]
    tab.get_by_role("button", name="after").click()
    assert names() == ["bird1", "bird2", "bird0", "lark"]  # what is not known stays at the end
    tab.get_by_role("searchbox").fill("bird2")
    assert names() == ["bird2"]
    assert problems == []


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("count", [4, 40, 400])
def test_nothing_is_cut_off_and_rows_are_one_line_that_opens(browser, tmp_path, count, width):
    report = varied_fleet(count)
    places = {row["bot"]: [random.Random(row["bot"]).uniform(-1, 1), 0.5] for row in report["bots"]}
    epochs = [("-".join(["a_rather_long_name"] * 5), number, number / 8) for number in (2, 4, 8)]
    (tmp_path / "report.html").write_text(page(report, places, epochs), encoding="utf-8")
    tab = browser.new_page(viewport={"width": width, "height": 800})
    tab.goto((tmp_path / "report.html").as_uri())
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    assert tab.evaluate(OUTSIDE) == []
    sizes = tab.locator("svg text:visible").evaluate_all("all => all.map(text => text.getBoundingClientRect().height)")
    assert min(sizes) > 8
    heights = tab.locator("tbody tr:first-child").evaluate_all("all => all.map(row => row.offsetHeight)")
    assert len(heights) == count and max(heights) < 45
    row = tab.locator("tbody").filter(has_text="My dream is").first
    assert not row.locator("ol").is_visible()
    row.locator("summary").click()
    assert row.locator("ol li").count() == 2 and row.locator("ol").is_visible()
    assert "tweets kept" in row.locator("dl").inner_text()
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    tab.close()


def varied_fleet(count: int) -> Report:
    """Bots with short and long names, few and many tweets, good and bad figures; some failed for a long reason."""
    rng = random.Random(0)
    bots = []
    for i in range(count):
        name = "-".join(f"a_rather_long_name{i}{j}" for j in range(8)) if i % 3 == 1 else f"bird{i}"
        kept = int(10 ** rng.uniform(2, 6))
        people = [Person(handle, {"downloaded": kept, "kept": kept}, 1, 1, "") for handle in name.split("-")]
        loss = rng.uniform(0.05, 5)
        held_out = {"loss": loss, "loss_interval": [0.9 * loss, 1.1 * loss], "base_loss": loss + rng.uniform(0, 2)}
        attributed = [[people[0].handle, 60], [f"bird{(i + 3) // 3 * 3 % count}", 4]]
        voice = MANY["voice"] | {"top1": rng.choice([0.0, 0.97, 1.0]), "attributed": attributed}
        metrics = MANY | {"held_out": held_out, "voice": voice}
        bots.append(Bot(name, people, "0123456789ab", "trained", metrics=metrics, seconds={"train": 12_345.6}))
        if i % 4 == 3:
            bots[-1].status, bots[-1].reason, bots[-1].metrics = "failed", "no tweets in any of the files; " * 8, {}
    return {"fleet": "birds", "seconds": {"train": 123_456.7}, "bots": [row_of(bot) for bot in bots]}
