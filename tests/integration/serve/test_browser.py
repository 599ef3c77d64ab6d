"""The page in a real browser (Chromium): find a bot, ask it, share an answer; also on a phone and by keyboard."""

import io
import re

import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Page, expect

from serve.http import keys
from serve.http.errors import ApiError
from tests.support import browser
from tests.support.fake_bots import ANSWER, TWEET, FakeBots, routes, serving

DESKTOP = {"viewport": {"width": 1280, "height": 860}}
PHONE = {"viewport": {"width": 360, "height": 740}, "is_mobile": True, "has_touch": True, "color_scheme": "dark"}
CROWD = [f"wren_{number:04}" for number in range(1_200)]


@pytest.fixture(scope="module")
def chromium():
    with browser.chromium() as opened:
        yield opened


@pytest.fixture(scope="module")
def gateway():
    bots = FakeBots([*CROWD, "nasa", "billnye-nasa"])
    with serving(routes(bots)) as address:
        yield address, bots


@pytest.fixture
def bots(gateway):
    gateway[1].__init__([*CROWD, "nasa", "billnye-nasa"])
    return gateway[1]


@pytest.fixture
def open_page(chromium, gateway, bots):
    """Opens a path of the gateway in a fresh browser; whatever the browser complains about fails the test."""
    contexts, complaints = [], []

    def open_(path: str, **options) -> Page:
        context = chromium.new_context(base_url=gateway[0], **(options or DESKTOP))
        contexts.append(context)
        context.grant_permissions(["clipboard-read", "clipboard-write"])
        context.set_default_timeout(10_000)
        page = context.new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda line: line.type == "error" and complaints.append(line.text))
        page.on("request", lambda one: one.url.startswith((gateway[0], "blob:")) or complaints.append(one.url))
        page.goto(path)
        return page

    yield open_
    for context in contexts:
        context.close()
    refused = re.compile("status of (404|500|503|504)|ERR_INTERNET_DISCONNECTED")  # what the tests here provoke
    assert [one for one in complaints if not refused.search(one)] == []


def ask(page: Page) -> None:
    page.get_by_role("button", name="Continue").click()
    expect(page.locator(".written")).to_have_count(4)


def test_the_gallery_shows_thousands_a_page_at_a_time_and_finds_one_by_its_handle(open_page, bots):
    page = open_page("/")
    expect(page.locator(".bot")).to_have_count(48)
    expect(page.locator("#found")).to_have_text("1,202 bots")
    expect(page.get_by_role("link", name="@billnye & @nasa")).to_contain_text("AI cyborg")
    scroll_to_the_end(page)
    page.get_by_label("Search the bots").fill("@NASA")
    expect(page.locator(".bot")).to_have_count(2)
    nasa = page.get_by_role("link", name=re.compile("NASA 🚀"))
    expect(nasa).to_contain_text(re.compile(r"@nasa.*AI bot.*2,426 tweets.*taken for them 95 %"))
    page.get_by_label("Search the bots").fill("nobody")
    expect(page.locator("#found")).to_have_text("No bot’s name contains “nobody”.")
    assert bots.asked == []


def scroll_to_the_end(page: Page) -> None:
    """Scrolls until the second page of the list is there."""
    expect(page.locator(".bot")).to_have_count(48)
    page.mouse.wheel(0, 100_000)
    expect(page.locator(".bot").nth(95)).to_be_attached()


def test_going_back_from_a_bot_shows_the_gallery_as_it_was(open_page):
    page = open_page("/")
    scroll_to_the_end(page)
    page.get_by_role("link", name="@wren_0090").click()
    expect(page.locator("h1")).to_contain_text("@wren_0090")
    assert page.url.endswith("/b/wren_0090")
    page.go_back()
    expect(page.locator(".bot").nth(95)).to_be_attached()
    expect(page.get_by_role("link", name="@wren_0090")).to_be_in_viewport()


def test_continuations_are_written_word_by_word_and_markup_in_them_is_text(open_page, bots):
    bots.pause = 0.1
    page = open_page("/b/nasa")
    expect(page.get_by_role("heading")).to_contain_text("AI bot")
    page.get_by_label("Start a sentence").fill("I love")
    page.keyboard.press("Enter")
    expect(page.locator(".writing")).to_have_count(4)
    expect(page.locator(".writing .words").first).to_have_text(" to see a")  # not whole yet
    expect(page.get_by_role("radio")).to_have_count(4)
    expect(page.locator(".written")).to_have_count(4)
    assert page.locator(".written label").all_inner_texts() == [f"I love{ANSWER}"] * 4
    assert page.locator(".written b").count() == 0
    assert bots.asked == [("nasa", "I love")] * 4
    expect(page.locator("#status")).to_have_text("4 of 4 continuations are written.")


def test_one_is_picked_copied_saved_as_a_picture_and_shared_by_a_link_that_shows_it(open_page):
    page = open_page("/b/nasa")
    ask(page)
    page.locator(".written").nth(1).click()
    page.get_by_role("button", name="Copy", exact=True).click()
    expect(page.locator("#toast")).to_have_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == f"My dream is{ANSWER}"
    with page.expect_download() as download:
        page.get_by_role("button", name="Save picture").click()
    assert download.value.suggested_filename == "nasa.png"
    assert Image.open(io.BytesIO(download.value.path().read_bytes())).size == (1200, 630)
    page.get_by_role("button", name="Share").click()
    expect(page.locator("#toast")).to_have_text("Link copied")
    link = page.evaluate("navigator.clipboard.readText()")
    shared = open_page(link)
    expect(shared.locator(".written label")).to_have_text(f"Someone began: “My dream is”{ANSWER}")
    altered = open_page(link.replace("whale", "snail"))
    expect(altered.locator(".hint")).to_contain_text("changed or has expired")
    assert altered.locator(".written").count() == 0


def test_where_the_device_can_share_it_gets_the_words_the_link_and_the_picture(open_page):
    page = open_page("/b/nasa")
    page.evaluate(
        """() => {
            window.given = null;
            navigator.canShare = () => true;
            navigator.share = async (data) => { window.given = {...data, files: data.files.map((file) => file.type)}; };
        }"""
    )
    ask(page)
    page.locator(".written").first.click()
    page.get_by_role("button", name="Share").click()
    page.get_by_role("button", name="Share").wait_for()
    given = page.wait_for_function("() => window.given").json_value()
    assert given["text"] == f"My dream is{ANSWER}" and "/b/nasa?" in given["url"] and given["files"] == ["image/png"]


def test_all_of_it_works_by_keyboard(open_page, bots):
    page = open_page("/")
    expect(page.locator(".bot")).to_have_count(48)
    page.keyboard.press("/")
    page.keyboard.type("nasa")
    expect(page.locator(".bot")).to_have_count(2)
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_contain_text("NASA 🚀")
    page.keyboard.press("/")
    page.keyboard.type("I love")
    page.keyboard.press("Enter")
    expect(page.locator(".written")).to_have_count(4)
    page.get_by_role("radio").first.focus()
    page.keyboard.press("Space")
    page.keyboard.press("ArrowDown")
    expect(page.get_by_role("radio").nth(1)).to_be_checked()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")  # "And then?", which keeps the focus
    expect(page.locator("#status")).to_have_text("Written.")
    assert bots.asked[-1] == ("nasa", f"I love{ANSWER}")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("#toast")).to_have_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == f"I love{ANSWER}{ANSWER}"


def test_writing_can_be_stopped_and_leaving_stops_it(open_page, bots):
    bots.pause = 0.5
    page = open_page("/b/nasa")
    page.get_by_role("button", name="Continue").click()
    page.get_by_role("button", name="Stop").click()
    expect(page.locator(".failed")).to_have_count(4)
    expect(page.get_by_role("button", name="Again")).to_be_visible()
    page.get_by_role("button", name="Again").click()
    page.get_by_role("link", name="All bots").click()
    expect(page.locator(".bot")).to_have_count(48)


def test_a_bot_that_is_busy_is_asked_again_and_one_that_cannot_answer_says_why(open_page, bots):
    page = open_page("/b/nasa")
    bots.refuse = [ApiError(503, "overloaded", "nasa is busy; try again", 1)] * 4
    ask(page)
    bots.refuse = [ApiError(504, "deadline_exceeded", "nasa did not answer in time")] * 4
    page.get_by_role("button", name="Again").click()
    expect(page.locator(".hint")).to_have_text("nasa did not answer in time")  # once, not four times
    expect(page.locator(".continuations li")).to_have_count(0)


def test_the_page_of_a_missing_bot_says_that_it_is_missing(open_page):
    page = open_page("/b/nobody")
    expect(page.get_by_role("heading")).to_have_text("No bot of this name is served here.")
    page.get_by_role("link", name="All bots").click()
    expect(page.locator(".bot")).to_have_count(48)


def test_what_fails_is_tried_again_and_named_and_is_not_called_starting(open_page, bots):
    page = open_page("/b/nasa")
    bots.refuse = [ApiError(500, "internal_error", "unexpected error"), ApiError(503, "bot_unavailable", "gone", 1)] * 2
    page.get_by_role("button", name="Continue").click()
    expect(page.locator(".hint")).to_contain_text("does not work at the moment; trying again")
    expect(page.locator(".written")).to_have_count(4)
    assert len(bots.asked) == 8


def test_without_a_connection_the_page_says_so_once(open_page):
    page = open_page("/b/nasa")
    expect(page.get_by_role("button", name="Continue")).to_be_visible()
    page.route("**/bots/nasa", lambda route: route.abort("internetdisconnected"))
    page.get_by_role("button", name="Continue").click()
    expect(page.locator(".hint")).to_have_text("The server does not answer.")
    expect(page.locator(".continuations li")).to_have_count(0)
    page.unroute("**/bots/nasa")
    page.get_by_role("button", name="Again").click()
    expect(page.locator(".written")).to_have_count(4)


def test_a_card_and_an_empty_page_show_what_the_bot_wrote_and_how_often_it_is_taken_for_the_person(open_page, bots):
    page = open_page("/?q=NASA 🚀")
    expect(page.get_by_role("searchbox")).to_have_value("NASA 🚀")
    expect(page.locator(".bot")).to_have_count(1)
    expect(page.locator(".bot")).to_contain_text("taken for them 95 %")
    expect(page.locator(".bot .sample")).to_have_text("My dream is to be number one in a town of whales")
    page.locator(".bot").click()
    expect(page.locator(".earlier")).to_contain_text("a town of whales")
    ask(page)
    expect(page.locator(".earlier")).to_have_count(0)
    expect(page.get_by_role("group", name="Continuations: pick one").get_by_role("radio")).to_have_count(4)
    page.get_by_text("About this bot").click()
    link = page.get_by_role("link", name="Report this bot, or ask to be taken out")
    expect(link).to_have_attribute("href", "mailto:operator@ferry.example")


def test_a_search_stands_in_the_address_and_back_shows_it_again(open_page):
    page = open_page("/")
    page.get_by_role("searchbox").fill("wren_0007")
    expect(page.locator(".bot")).to_have_count(1)
    assert page.url.endswith("/?q=wren_0007")
    page.locator(".bot").click()
    expect(page.locator("h1")).to_contain_text("wren_0007")
    page.go_back()
    expect(page.locator(".bot")).to_have_count(1)
    expect(page.get_by_role("searchbox")).to_have_value("wren_0007")


def test_a_surprise_is_drawn_from_all_bots_that_are_found(open_page):
    page = open_page("/?q=nasa")
    expect(page.locator(".bot")).to_have_count(2)
    page.get_by_role("button", name="Surprise me").click()
    expect(page.locator("h1")).to_contain_text(re.compile("NASA|nasa"))


@pytest.mark.parametrize("path, text", [("/b/%E0%A4%A", "No bot of this name"), ("/nowhere", "There is no such page")])
def test_an_address_that_leads_nowhere_is_a_page(open_page, path, text):
    page = open_page(path)
    expect(page.get_by_role("heading")).to_contain_text(text)
    page.get_by_role("link", name="All bots").click()
    expect(page.locator(".bot")).to_have_count(48)


def test_the_gallery_can_be_ordered_and_shows_one_letter_and_both_stand_in_the_address(open_page, bots):
    bots.table["wren_0777"]["metrics"] = {"voice": {"top1": 0.99}}
    page = open_page("/")
    expect(page.locator(".today")).to_contain_text("Bot of the day")
    page.get_by_label("Order").select_option("Most like their person")
    expect(page.locator(".bot").first).to_contain_text("wren_0777")
    expect(page.locator(".today")).to_be_hidden()
    page.get_by_role("button", name="N", exact=True).click()
    expect(page.locator("#found")).to_have_text("1 bot under N")
    assert page.url.endswith("/?letter=n&order=voice")
    page.reload()
    expect(page.locator("#found")).to_have_text("1 bot under N")
    page.get_by_role("button", name="All", exact=True).click()
    expect(page.locator(".bot")).to_have_count(48)


def test_a_bot_offers_its_own_openings_and_is_calm_or_wild(open_page, bots):
    page = open_page("/b/nasa")
    page.get_by_label("Temperature").fill("1.4")
    page.get_by_role("button", name="Today we watch …").click()
    expect(page.locator(".written")).to_have_count(4)
    assert bots.asked == [("nasa", "Today we watch")] * 4 and bots.temperatures == [1.4] * 4
    page.get_by_label("Temperature").fill("1")
    page.get_by_role("button", name="Again").click()
    expect(page.locator("#status")).to_have_text("4 of 4 continuations are written.")
    assert bots.temperatures[4:] == [1.0] * 4


def test_a_picked_text_is_continued_and_its_link_shows_all_of_it(open_page, bots):
    bots.text = " to land at noon. Watch:"
    page = open_page("/b/nasa")
    ask(page)
    expect(page.locator(".written label").first).to_have_text("My dream is to land at noon.")
    page.locator(".written").first.click()
    bots.text = " Then it rains."
    page.get_by_role("button", name="And then?").click()
    expect(page.locator(".written label").first).to_have_text("My dream is to land at noon. Then it rains.")
    assert bots.asked[-1] == ("nasa", "My dream is to land at noon. Watch:")
    expect(page).to_have_url(re.compile("said=.*said="))
    shared = open_page(page.url)
    expect(shared.locator(".written label")).to_have_text(
        "Someone began: “My dream is” to land at noon. Then it rains."
    )
    with shared.expect_download():
        shared.get_by_role("button", name="Save picture").click()
    bots.refuse = [ApiError(504, "deadline_exceeded", "nasa did not answer in time")]
    shared.get_by_role("button", name="And then?").click()
    expect(shared.locator("#toast")).to_have_text("nasa did not answer in time")
    expect(shared.locator(".written label")).to_contain_text("Then it rains.")


def test_picks_are_remembered_and_going_back_to_one_shows_it(open_page, bots):
    page = open_page("/b/nasa")
    ask(page)
    page.locator(".written").first.click()
    page.get_by_role("link", name="All bots").click()
    expect(page.locator(".bot")).to_have_count(48)
    page.go_back()
    expect(page.locator(".written label")).to_contain_text(ANSWER.strip())
    page.get_by_text("Your picks").click()
    expect(page.locator(".picks a")).to_have_text([f"My dream is{ANSWER}"])
    page.locator(".picks a").click()
    expect(page.locator(".written label")).to_contain_text(ANSWER.strip())
    page.get_by_text("Your picks").click()
    page.get_by_role("button", name="Clear").click()
    expect(page.locator(".picks")).to_have_text("Nothing yet: pick a text above.")


def test_two_bots_continue_one_sentence_side_by_side(open_page, bots):
    page = open_page("/b/nasa")
    page.get_by_text("Compare with another bot").click()
    page.get_by_label("Search a bot to compare with").fill("billnye")
    page.locator(".found-bots").get_by_role("link", name="@billnye & @nasa").click()
    expect(page.get_by_role("heading", name="Two bots, one sentence")).to_be_visible()
    page.get_by_label("Start a sentence").fill("I love")
    ask(page)
    assert sorted(bots.asked) == [("billnye-nasa", "I love")] * 2 + [("nasa", "I love")] * 2
    expect(page.locator(".side").nth(1).locator(".written")).to_have_count(2)
    page.locator(".side").nth(1).locator(".written").first.click()
    page.get_by_role("button", name="Share").click()
    expect(page.locator("#toast")).to_have_text("Link copied")
    assert "/b/billnye-nasa?prompt=I+love" in page.evaluate("navigator.clipboard.readText()")
    assert page.url.endswith("/b/nasa?with=billnye-nasa")
    lone = open_page("/b/nasa?with=nobody")
    expect(lone.get_by_role("heading")).to_have_text("No bot of this name is served here.")


def test_a_visitor_looks_for_the_tweet_among_texts_of_the_bot(open_page, bots):
    page = open_page("/b/nasa")
    page.get_by_text("Which one is real?").click()
    expect(page.locator(".round button")).to_have_count(4)
    expect(page.locator(".game .result")).to_have_text("Which of these did @nasa write?")
    page.get_by_role("button", name=TWEET).click()
    expect(page.locator(".game .result")).to_have_text("Right. 0 of 1 visitors picked a text by the bot.")
    expect(page.locator(".round .real")).to_contain_text("By @nasa")
    expect(page.locator("#status")).to_contain_text("Right.")
    page.get_by_role("button", name="Another round").click()
    page.locator(".round button", has_text="🐋").first.click()
    expect(page.locator(".game .result")).to_contain_text("1 of 2 visitors picked a text by the bot.")
    expect(page.locator(".round .wrong")).to_contain_text("By the bot")
    assert Axe().run(page).response["violations"] == []
    assert open_page("/b/billnye-nasa").get_by_text("Which one is real?").count() == 0


def test_while_a_page_loads_a_skeleton_stands_in_its_place(open_page):
    page = open_page("/b/nasa")
    page.route("**/bots?*", lambda route: None)  # answered never
    page.get_by_role("link", name="All bots").click()
    expect(page.locator(".bots .skeleton")).to_have_count(6)
    page.unroute_all(behavior="ignoreErrors")


@pytest.mark.parametrize("options", [DESKTOP, PHONE], ids=["desktop", "dark phone"])
def test_it_fits_the_screen_and_has_no_barrier_that_axe_knows(open_page, options):
    page = open_page("/", **options)
    expect(page.locator(".bot")).to_have_count(48)
    check(page)
    page.goto("/b/billnye-nasa")
    ask(page)
    page.locator(".written").first.click()
    for summary in page.locator("summary").all():
        summary.click()
    expect(page.locator(".found-bots a")).to_have_count(6)
    check(page)
    page.goto("/b/nasa?with=billnye-nasa")
    ask(page)
    check(page)


def check(page: Page) -> None:
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()


def test_where_keys_are_set_the_browser_asks_for_one_and_keeps_it(chromium):
    guard = routes(FakeBots(["nasa"]), "a-key-of-sixteen=")
    with serving(guard) as address:
        page = chromium.new_page(base_url=address)
        page.goto("/b/nasa")
        page.get_by_label("Key").fill("not-this-key-here")
        page.keyboard.press("Enter")
        expect(page.get_by_role("alert")).to_have_text("This key is not valid.")
        page.get_by_label("Key").fill("a-key-of-sixteen=")
        page.keyboard.press("Enter")
        ask(page)
        assert page.url == f"{address}/b/nasa" and "a-key-of-sixteen" not in page.evaluate("document.cookie")
        page.locator(".written").first.click()
        page.get_by_role("button", name="Sign out").click()
        expect(page.get_by_label("Key")).to_be_visible()
        assert page.evaluate("localStorage.getItem('picks')") == "[]"
        page.get_by_label("Key").fill("a-key-of-sixteen=")
        page.keyboard.press("Enter")
        page.locator(".bot").click()
        ask(page)
        guard.configure({keys.digest("another-key-of-theirs"): None}, [], 1)  # theirs alone from now on
        page.get_by_role("button", name="Again").click()
        expect(page.get_by_label("Key")).to_be_visible()
        page.context.close()
