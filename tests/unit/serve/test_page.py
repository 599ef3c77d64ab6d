"""The page without a browser: what the server puts into it, and pictures only of what bots said."""

import base64
import hmac
import html
import io
import json
import re
from urllib.parse import urlencode

import pytest
from fastapi.testclient import TestClient
from PIL import Image

from pipeline.core.picture_marks import DIGITAL_SOURCE_TYPE, marks_of
from serve.http import keys
from serve.http.web import STATIC
from serve.http.web.shared import MAX_PARTS, MAX_SAID_CHARS
from tests.support.fake_bots import FACE, KEYRING, OLD_LINK_KEY, VERSION, FakeBots, routes

KEY = "a-key-of-sixteen="
PROMPT, SAID = 'My "dream" is', " <script>alert('🐋')</script> & more"


@pytest.fixture
def bots():
    return FakeBots(["billnye-nasa", "ferry", "nasa"])


def signed(bots: FakeBots, bot: str, prompt: str = PROMPT, said: str = SAID) -> dict[str, str]:
    return {"prompt": prompt, "said": said, "signature": KEYRING.sign(bot, VERSION, prompt, said)}


def test_the_page_and_all_that_it_loads_is_under_100_kb_and_from_here(client):
    page = client.get("/")
    assert page.status_code == 200 and page.headers["content-type"].startswith("text/html")
    files = {path.name: client.get(f"/static/{path.name}") for path in STATIC.iterdir()}
    assert {"main.js", "page.css"} <= set(files)
    assert all(file.status_code == 200 for file in files.values())
    assert len(page.content) + sum(len(file.content) for file in files.values()) < 100_000
    for text in [page.text, *(path.read_text() for path in STATIC.iterdir() if path.suffix in (".js", ".css"))]:
        assert not re.findall(
            r"""(?:src|href|url|from|import)[\s=("']+(?:https?:)?//""", text.replace("http://bots.test", "")
        )


def test_what_a_browser_has_already_is_not_sent_again(client):
    script = client.get("/static/main.js")
    again = client.get("/static/main.js", headers={"If-None-Match": script.headers["etag"]})
    assert script.headers["cache-control"] == "no-cache" and (again.status_code, again.content) == (304, b"")


def test_nothing_inline_and_nothing_from_elsewhere_is_allowed_to_run(client):
    page = client.get("/b/nasa")
    policy = dict(part.split(" ", 1) for part in page.headers["content-security-policy"].split("; "))
    assert policy["default-src"] == "'none'" and policy["script-src"] == policy["style-src"] == "'self'"
    assert policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert page.headers["x-content-type-options"] == "nosniff"
    assert not re.search(r"<script(?![^>]*src)|<style| on\w+=| style=", page.text)
    assert not [path.name for path in STATIC.glob("*.js") if "innerHTML" in path.read_text()]


def test_the_pages_and_pictures_ask_no_bot(client, bots):
    for path in ("/", "/b/nasa", "/static/main.js", "/bots", "/bots/nasa/card.png"):
        assert client.get(path).status_code == 200
    assert bots.asked == []


def test_a_bots_page_says_in_its_head_who_it_is_and_that_it_is_an_ai(client):
    page = client.get("/b/nasa").text
    assert "<title>NASA 🚀 · AI bot</title>" in page
    assert 'property="og:image" content="http://bots.test/bots/nasa/card.png"' in page
    assert "<title>@billnye &amp; @nasa · AI cyborg</title>" in client.get("/b/billnye-nasa").text
    assert client.get("/b/nobody").status_code == 404
    assert client.get("/b/..%2f..").status_code == 404


def test_a_signed_link_carries_what_the_bot_said_escaped_and_its_picture(client, bots):
    query = signed(bots, "nasa")
    page = client.get("/b/nasa", params=query).text
    assert "<script>alert" not in page
    [image] = re.findall(r'og:image" content="([^"]+)"', page)
    assert html.unescape(image) == f"http://bots.test/bots/nasa/card.png?{urlencode(query)}"
    [said] = re.findall(r'data-answer="([^"]*)"', page)
    assert html.unescape(said) == SAID


@pytest.mark.parametrize("change", [{"said": " tea"}, {"prompt": "I hate"}, {"signature": ""}, {"signature": "x" * 22}])
def test_an_altered_link_shows_nothing_of_what_it_claims(client, bots, change):
    query = signed(bots, "nasa") | change
    page = client.get("/b/nasa", params=query)
    assert page.status_code == 200 and "data-answer" not in page.text and query["said"] not in page.text
    answer = client.get("/bots/nasa/card.png", params=query)
    assert (answer.status_code, answer.json()["error"]["type"]) == (403, "not_signed")


def test_a_picture_is_drawn_of_what_is_signed_for_this_bot_only(client, bots):
    query = signed(bots, "nasa")
    answer = client.get("/bots/nasa/card.png", params=query)
    assert answer.headers["content-type"] == "image/png"
    assert Image.open(io.BytesIO(answer.content)).size == (1200, 630)
    assert client.get("/bots/ferry/card.png", params=query).status_code == 403
    assert client.get("/bots/nobody/card.png", params=query).status_code == 404
    assert client.get("/bots/nasa/card.png").content != answer.content


def test_a_profile_picture_is_shown_where_there_is_one_and_drawn_on_what_the_bot_says(client, bots):
    for path in ("/bots/nasa/pictures/nasa.png", "/bots/billnye-nasa/pictures/nasa.png"):
        answer = client.get(path)
        assert (answer.content, answer.headers["content-type"]) == (FACE, "image/png")
    for path in (
        "ferry/pictures/ferry",
        "billnye-nasa/pictures/billnye",
        "nobody/pictures/nasa",
        "nasa/pictures/..%2f",
    ):
        assert client.get(f"/bots/{path}.png").status_code == 404
    pictured = client.get("/bots/nasa/card.png", params=signed(bots, "nasa")).content
    bots.table["nasa"]["pictures"] = []
    assert client.get("/bots/nasa/card.png", params=signed(bots, "nasa")).content != pictured


@pytest.mark.parametrize("prompt, said", [("x" * 2_001, " tea"), ("My dream is", "x" * (MAX_SAID_CHARS + 1))])
def test_a_text_beyond_the_limits_is_not_drawn_even_if_signed(client, bots, prompt, said):
    query = signed(bots, "nasa", prompt, said)
    assert client.get("/bots/nasa/card.png", params=query).status_code == 403


def test_every_answer_carries_the_signature_that_its_picture_needs(client, bots):
    body = {"inputs": PROMPT, "parameters": {"return_full_text": False}}
    whole = client.post("/bots/nasa", json=body)
    said = whole.json()[0]["generated_text"]
    stream = client.post("/bots/nasa", json=body | {"stream": True}).text
    [streamed] = re.findall(r'"signature": "([\w-]+)"', stream)
    for signature in (whole.headers["x-signature"], streamed):
        query = {"prompt": PROMPT, "said": said, "signature": signature}
        assert client.get("/bots/nasa/card.png", params=query).status_code == 200


def test_a_link_from_before_public_signatures_still_shows_its_answer(client, bots):
    query = {"prompt": PROMPT, "said": SAID, "signature": old_signature("nasa", PROMPT, SAID)}
    assert "data-answer" in client.get("/b/nasa", params=query).text
    assert client.get("/bots/nasa/card.png", params=query).status_code == 200
    assert client.get("/bots/ferry/card.png", params=query).status_code == 403
    assert client.get("/bots/nasa/card.png", params=query | {"said": " tea"}).status_code == 403


def old_signature(*said: str) -> str:
    """As the server made signatures before."""
    digest = hmac.digest(OLD_LINK_KEY, json.dumps(said).encode(), "sha256")[:16]
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def test_a_picture_says_in_its_metadata_that_it_is_by_a_model_and_which_answer_it_shows(client, bots):
    query = signed(bots, "nasa")
    answer = client.get("/bots/nasa/card.png", params=query)
    assert answer.headers["x-ai-generated"] == "true"
    assert DIGITAL_SOURCE_TYPE.encode() in answer.content
    assert marks_of(answer.content) == {"bot": "nasa"} | query
    assert marks_of(client.get("/bots/nasa/card.png").content) == {}


def test_the_page_says_to_programs_too_that_it_shows_generated_text(client, bots):
    assert f'name="digital-source-type" content="{DIGITAL_SOURCE_TYPE}"' in client.get("/").text
    assert client.get("/b/nasa", params=signed(bots, "nasa")).headers["x-ai-generated"] == "true"
    assert "x-ai-generated" not in client.get("/b/nasa").headers


@pytest.fixture
def locked(bots):
    """The routes behind a guard that wants a key."""
    with TestClient(routes(bots, KEY), base_url="http://bots.test", follow_redirects=False) as client:
        yield client


BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


def test_a_browser_without_a_key_is_shown_a_form_on_every_route_and_others_an_error(locked):
    for path in ("/", "/b/nasa", "/static/main.js", "/bots", "/bots/nasa/card.png"):
        page = locked.get(path, headers=BROWSER)
        assert page.status_code == 401 and 'action="/key"' in page.text and "NASA" not in page.text
        assert locked.get(path).json()["error"]["type"] == "unauthorized"
    assert locked.get("/health").status_code == 200


def test_a_key_that_is_entered_opens_the_page_that_was_asked_for(locked):
    form = locked.get('/b/nasa?said="<b>', headers=BROWSER).text
    [back] = re.findall(r'name="back" value="([^"]*)"', form)
    reply = locked.post("/key", data={"key": f" {KEY} ", "back": html.unescape(back)})
    assert (reply.status_code, reply.headers["location"]) == (303, "/b/nasa?said=%22%3Cb%3E")
    cookie = reply.headers["set-cookie"].lower()
    assert "httponly" in cookie and "samesite=lax" in cookie and "secure" not in cookie
    assert KEY not in cookie and keys.digest(KEY) not in cookie  # cookies are sent to other ports of the host, too
    assert locked.get("/b/nasa", headers=BROWSER).status_code == 200
    assert locked.post("/bots/nasa", json={"inputs": "Hi"}).status_code == 200


def test_a_wrong_key_gives_no_access_and_an_error_message(locked):
    for wrong in ("a-key-that-is-wrong", "two words", "é", ""):
        locked.post("/key", data={"key": wrong, "back": "/"})
        page = locked.get("/", headers=BROWSER)
        assert page.status_code == 401 and "This key is not valid." in page.text


@pytest.mark.parametrize("back", ["//evil.test", "https://evil.test", "/\\evil.test", "javascript:alert(1)", "/a\r\nb"])
def test_the_way_back_stays_on_this_site(locked, back):
    assert locked.post("/key", data={"key": KEY, "back": back}).headers["location"] == "/"


def test_another_site_cannot_enter_a_key_here_nor_a_large_body(locked):
    reply = locked.post("/key", data={"key": KEY, "back": "/"}, headers={"Origin": "http://evil.test"})
    assert reply.status_code == 403 and "set-cookie" not in reply.headers
    assert locked.post("/key", data={"key": "x" * 10_000}).status_code == 413


def test_over_tls_the_cookie_is_sent_over_tls_only(bots):
    with TestClient(routes(bots), base_url="https://bots.test", follow_redirects=False) as client:
        assert "secure" in client.post("/key", data={"key": KEY}).headers["set-cookie"].lower()


DEFAMATION = "nasa says that the mayor of this town stole the money for the new library and hid it"


def test_a_visitors_words_are_never_shown_as_the_bots(client, bots):
    """The attack: a prompt of one's own and one generated token, signed, under a person's name."""
    bots.text = " yes"
    answer = client.post("/bots/nasa", json={"inputs": DEFAMATION, "parameters": {"return_full_text": False}})
    said = answer.json()[0]["generated_text"]
    query = {"prompt": DEFAMATION, "said": said, "signature": answer.headers["x-signature"]}
    refused = client.get("/bots/nasa/card.png", params=query)
    assert (refused.status_code, refused.json()["error"]["type"]) == (403, "answer_too_short")
    page = html.unescape(client.get("/b/nasa", params=query).text)
    [description] = re.findall(r'og:description" content="([^"]+)"', page)
    assert description == f"Someone began: “{DEFAMATION[:59]}…” The bot wrote: “yes”"
    assert re.findall(r'og:image" content="([^"]+)"', page) == ["http://bots.test/bots/nasa/card.png"]


def test_white_space_between_the_words_makes_no_answer_longer(client):
    """The attack: a signature stays valid where white space is added, and a picture needs a long answer."""
    query = signed(FakeBots(["nasa"]), "nasa", DEFAMATION, " oh yes") | {"said": " oh" + " \n" * 50 + "yes"}
    assert client.get("/verify", params={"bot": "nasa"} | query).json()["valid"]
    assert client.get("/bots/nasa/card.png", params=query).status_code == 403


def test_there_is_no_picture_of_an_empty_answer(client, bots):
    for said in ("", "  "):
        query = {"said": said, "signature": old_signature("nasa", "", said)}
        assert client.get("/bots/nasa/card.png", params=query).status_code == 403


def test_a_prompt_is_quoted_apart_in_the_picture(monkeypatch):
    from pipeline.core import picture

    drawn = []
    monkeypatch.setattr(picture, "_renderer", lambda: Recorder(drawn))
    picture.draw(["nasa"], DEFAMATION, [DEFAMATION + " and then it rained for a very long time, all over the town"])
    [markup] = drawn
    assert f"Someone began: “{DEFAMATION[:59]}…”" in html.unescape(markup) and DEFAMATION not in markup


class Recorder:
    """A renderer that keeps the markup that it is given."""

    def __init__(self, drawn: list[str]):
        self.drawn = drawn

    def measure(self, *arguments, **options):
        return {"height": 0}

    def render_html(self, markup, **options):
        self.drawn.append(markup)
        return b""


def test_search_engines_list_nothing_unless_the_operator_allows_it(client, bots):
    for path in ("/", "/b/nasa", "/b/nobody"):
        page = client.get(path)
        assert page.headers["x-robots-tag"] == "noindex" and '<meta name="robots" content="noindex">' in page.text
    assert client.get("/robots.txt").text == "User-agent: *\nDisallow: /\n"
    bots.table["nasa"]["search_engines"] = True
    for path in ("/", "/b/nasa"):
        page = client.get(path)
        assert "x-robots-tag" not in page.headers and "noindex" not in page.text
    del bots.table["ferry"]["search_engines"]  # as a registry of an earlier release describes it
    assert client.get("/b/ferry").headers["x-robots-tag"] == "noindex"
    assert client.get("/robots.txt").text == "User-agent: *\nDisallow: /bots/\nDisallow: /v1/\n"


def test_a_browser_gets_a_page_for_an_address_that_leads_nowhere_and_a_program_an_error(client):
    page = client.get("/nothing/here", headers=BROWSER)
    assert page.status_code == 404 and "There is no such page." in page.text and "main.js" in page.text
    assert client.get("/nothing/here").json()["error"]["type"] == "not_found"
    assert client.get("/b/%E0%A4%A", headers=BROWSER).status_code == 404


def test_a_shared_text_is_in_the_page_for_browsers_without_javascript(client, bots):
    page = client.get("/b/nasa", params=signed(bots, "nasa")).text
    [without] = re.findall(r"<noscript>(.*?)</noscript>", page, re.DOTALL)
    assert SAID.strip() in html.unescape(without) and "<script>" not in without and "Someone began" in without
    [without] = re.findall(r"<noscript>(.*?)</noscript>", client.get("/b/nasa").text, re.DOTALL)
    assert "blockquote" not in without


def test_pages_and_lists_are_compressed_and_streams_and_answers_are_not(bots):
    many = FakeBots([f"bird{i}" for i in range(50)])
    with TestClient(routes(many), base_url="http://bots.test") as client:
        for path in ("/bots", "/b/bird0", "/static/page.css"):
            with client.stream("GET", path, headers={"Accept-Encoding": "gzip"}) as reply:
                assert reply.headers["content-encoding"] == "gzip" and "Accept-Encoding" in reply.headers["vary"]
                compressed = sum(map(len, reply.iter_raw()))
            assert compressed < 0.6 * len(client.get(path, headers={"Accept-Encoding": "identity"}).content)
        many.text = " word" * 2_000
        for stream in (True, False):
            reply = client.post("/bots/bird0", json={"inputs": "Hi", "stream": stream})
            assert "content-encoding" not in reply.headers


def continued(bots: FakeBots, *parts: str) -> dict[str, str | list[str]]:
    """The query of a link to an answer that was written in these parts."""
    signatures, before = [], PROMPT
    for part in parts:
        signatures.append(KEYRING.sign("nasa", VERSION, before, part))
        before += part
    return {"prompt": PROMPT, "said": list(parts), "signature": signatures}


def test_an_answer_that_was_continued_is_shown_whole_and_each_of_its_parts_is_checked(client, bots):
    query = continued(bots, " to land on the moon.", " Then it rained.", " We went home.")
    page = html.unescape(client.get("/b/nasa", params=query).text)
    [answer] = re.findall(r'data-answer="([^"]*)"', page)
    assert answer == " to land on the moon. Then it rained. We went home."
    picture = client.get("/bots/nasa/card.png", params=query)
    assert picture.status_code == 200
    assert marks_of(picture.content) == {
        "bot": "nasa",
        "prompt": PROMPT + " to land on the moon. Then it rained.",
        "said": " We went home.",
        "signature": query["signature"][-1],
    }
    parts, signatures = query["said"], query["signature"]
    for said, given in (
        ([" to land on Mars.", *parts[1:]], signatures),
        ([parts[1], parts[0], parts[2]], [signatures[1], signatures[0], signatures[2]]),
        ([parts[0], parts[2]], [signatures[0], signatures[2]]),
        (parts, signatures[:2]),
        (parts[:2], signatures),
    ):
        altered = {"prompt": PROMPT, "said": said, "signature": given}
        assert "data-answer" not in client.get("/b/nasa", params=altered).text
        assert client.get("/bots/nasa/card.png", params=altered).status_code == 403
    many = continued(bots, *(f" part {i} of it" for i in range(MAX_PARTS + 1)))
    assert client.get("/bots/nasa/card.png", params=many).status_code == 403


def test_words_that_announce_a_link_are_not_shown_in_a_shared_text(client, bots):
    query = signed(bots, "nasa", said=" to land on the moon at noon. Watch:")
    page = html.unescape(client.get("/b/nasa", params=query).text)
    assert "The bot wrote: “to land on the moon at noon.”" in page
    [without] = re.findall(r"<noscript>(.*?)</noscript>", page, re.DOTALL)
    assert "at noon.</blockquote>" in without
    assert marks_of(client.get("/bots/nasa/card.png", params=query).content)["said"] == query["said"]


def test_after_signing_out_the_key_must_be_entered_again(locked):
    assert locked.post("/sign-out").status_code == 303  # also without a session: an old one is taken away
    locked.post("/key", data={"key": KEY, "back": "/"})
    page = locked.get("/", headers=BROWSER)
    assert page.status_code == 200 and 'action="/sign-out"' in page.text
    assert locked.post("/sign-out", headers={"Origin": "http://evil.test"}).status_code == 403
    assert locked.get("/", headers=BROWSER).status_code == 200
    reply = locked.post("/sign-out")
    assert (reply.status_code, reply.headers["location"]) == (303, "/")
    page = locked.get("/", headers=BROWSER)
    assert page.status_code == 401 and "not valid" not in page.text


def test_without_a_session_there_is_nothing_to_sign_out_of(client):
    assert "/sign-out" not in client.get("/").text
