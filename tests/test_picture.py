"""predictions.png: always 1200x630, always marked as a machine's words, whatever a bot says."""

import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageChops

from pipeline.picture import HEIGHT, MARGIN, WIDTH, draw

PROMPT = "My dream is"
SAMPLES = [f"{PROMPT} to nest in the hedge", f"{PROMPT} a warm worm", f"{PROMPT} spring"]


def picture(*arguments) -> Image.Image:
    image = Image.open(io.BytesIO(draw(*arguments)))
    assert (image.format, image.size) == ("PNG", (1200, 630))
    return image.convert("RGB")


def differs(one: Image.Image, other: Image.Image, box: tuple[int, int, int, int] | None = None) -> bool:
    return ImageChops.difference(one.crop(box), other.crop(box)).getbbox() is not None


def blank(image: Image.Image, box: tuple[int, int, int, int]) -> bool:
    return len(image.crop(box).getcolors(WIDTH * HEIGHT)) == 1


FOOTER = (0, HEIGHT - 60, WIDTH, HEIGHT)
TITLE = (0, 0, WIDTH - 300, 140)
BADGE = (WIDTH - 300, 0, WIDTH, 140)
BODY = (MARGIN, 150, WIDTH, HEIGHT - 60)


def test_the_same_words_give_the_same_picture():
    assert draw(["wren"], PROMPT, SAMPLES) == draw(["wren"], PROMPT, SAMPLES)


def test_the_picture_shows_who_and_what():
    one = picture(["wren"], PROMPT, SAMPLES)
    assert differs(one, picture(["lark"], PROMPT, SAMPLES), TITLE)
    assert differs(one, picture(["wren"], PROMPT, [*SAMPLES[:2], f"{PROMPT} winter"]), BODY)


def test_a_blend_has_a_badge_of_its_own():
    assert differs(picture(["wren"], PROMPT, SAMPLES), picture(["lark", "wren"], PROMPT, SAMPLES), BADGE)


def test_the_mark_that_a_machine_wrote_it_is_there_whatever_is_said():
    plain = picture(["wren"], PROMPT, [])
    full = picture(["wren"] * 10, PROMPT, ["so very long a story " * 40] * 9)
    assert not blank(plain, FOOTER)
    assert not differs(plain, full, FOOTER)


def test_no_more_than_three_samples_are_shown():
    assert not differs(picture(["wren"], PROMPT, SAMPLES), picture(["wren"], PROMPT, [*SAMPLES, "one more"]))


def test_long_words_are_broken_and_stay_within_the_margin():
    image = picture(["wren"], PROMPT, [f"{PROMPT} {'chirp' * 60}"])
    right = (WIDTH - MARGIN + 1, 150, WIDTH, HEIGHT - 60)
    assert blank(image, right)
    assert differs(image, picture(["wren"], PROMPT, [f"{PROMPT} chirp"]), BODY)


def test_a_title_of_many_people_does_not_run_into_the_badge():
    few, many = picture(["wren", "lark"], PROMPT, []), picture(["long_bird_name1"] * 10, PROMPT, [])
    assert not differs(few, many, (WIDTH - MARGIN - 200, 0, WIDTH, 140))


def test_what_the_font_lacks_is_left_out():
    plain = draw(["wren"], PROMPT, [f"{PROMPT} tea now"])
    assert draw(["wren"], PROMPT, [f"{PROMPT} tea 😀 now 漢字\u200b\x07"]) == plain


@pytest.mark.parametrize("fancy, plain", [("it’s “tea” – now", 'it\'s "tea" - now'), ("café…", "café…")])
def test_typographers_marks_are_drawn_in_their_plain_form(fancy, plain):
    assert draw(["wren"], PROMPT, [fancy]) == draw(["wren"], PROMPT, [plain])
    assert draw(["wren"], PROMPT, [fancy]) != draw(["wren"], PROMPT, [""])


@settings(deadline=None, max_examples=15)
@given(st.lists(st.text(st.characters(), max_size=300), max_size=4))
def test_nothing_a_bot_says_stops_the_picture(samples):
    assert picture(["wren"], PROMPT, samples).size == (WIDTH, HEIGHT)
