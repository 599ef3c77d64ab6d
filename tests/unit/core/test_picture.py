"""predictions.png: always 1200x630, always marked as a machine's words, whatever a bot says."""

import io

import pytest
from fontTools.ttLib import TTFont
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageChops

from pipeline.core.picture import _FOLDER, _FONTS, HEIGHT, WIDTH, _drawable, draw, ink

PROMPT = "My dream is"
SAMPLES = [f"{PROMPT} to nest in the hedge", f"{PROMPT} a warm worm", f"{PROMPT} spring"]
MARGIN = 72
FOOTER = (0, HEIGHT - 80, WIDTH, HEIGHT)
FACES = (MARGIN, 64, 176, 152)
TITLE = (180, 64, WIDTH - 320, 152)
BADGE = (WIDTH - 320, 64, WIDTH, 152)
BODY = (MARGIN, 152, WIDTH, HEIGHT - 80)


def picture(*arguments, **options) -> Image.Image:
    image = Image.open(io.BytesIO(draw(*arguments, **options)))
    assert (image.format, image.size) == ("PNG", (1200, 630))
    return image.convert("RGB")


def differs(one: Image.Image, other: Image.Image, box: tuple[int, int, int, int] | None = None) -> bool:
    return ImageChops.difference(one.crop(box), other.crop(box)).getbbox() is not None


def blank(image: Image.Image, box: tuple[int, int, int, int]) -> bool:
    return len(image.crop(box).getcolors(WIDTH * HEIGHT)) == 1


def written(image: Image.Image, box: tuple[int, int, int, int] = BODY) -> tuple[int, int, int, int]:
    """Where in the box something is drawn."""
    part = image.crop(box)
    return ImageChops.difference(part, Image.new("RGB", part.size, part.getpixel((0, 0)))).getbbox()


def colours(image: Image.Image, box: tuple[int, int, int, int] = BODY) -> int:
    """How many pixels are of a strong colour: text is black or grey."""
    _, saturation, value = image.crop(box).convert("HSV").split()
    return sum(s > 120 and v > 120 for s, v in zip(saturation.tobytes(), value.tobytes(), strict=True))


def test_the_same_words_give_the_same_picture():
    assert draw(["wren"], PROMPT, SAMPLES) == draw(["wren"], PROMPT, SAMPLES)


def test_the_picture_shows_who_and_what():
    one = picture(["wren"], PROMPT, SAMPLES)
    assert differs(one, picture(["lark"], PROMPT, SAMPLES), TITLE)
    assert differs(one, picture(["wren"], PROMPT, [*SAMPLES[:2], f"{PROMPT} winter"]), BODY)
    assert differs(one, picture(["wren"], PROMPT, SAMPLES, name="Jenny Wren"), TITLE)


def test_a_profile_picture_takes_the_initials_place_and_a_broken_one_does_not():
    file = io.BytesIO()
    Image.new("CMYK", (300, 200), (0, 255, 255, 0)).save(file, "JPEG")
    plain = picture(["wren"], PROMPT, SAMPLES)
    red, green, blue = picture(["wren"], PROMPT, SAMPLES, picture=file.getvalue()).getpixel((116, 108))
    assert red > 200 and green < 60 and blue < 60
    assert not differs(plain, picture(["wren"], PROMPT, SAMPLES, picture=b"not a picture"))
    assert not differs(plain, picture(["wren"], PROMPT, SAMPLES, picture=file.getvalue()[:100]))


def test_a_blend_has_a_badge_of_its_own_and_an_initial_for_each_person():
    one, two = picture(["wren"], PROMPT, SAMPLES), picture(["lark", "wren"], PROMPT, SAMPLES)
    assert differs(one, two, BADGE)
    assert ink("lark") != ink("wren") != ink("lark-wren")


def test_every_picture_says_that_a_machine_wrote_the_text():
    plain = picture(["wren"], PROMPT, [])
    story = "so very long a story " * 40
    assert not blank(plain, FOOTER)
    for samples in ([story], [story] * 9, ["長い話。" * 300], ["\u0e17\u0e35\u0e48" * 300]):
        full = picture(["wren"], PROMPT, samples)
        assert not differs(plain, full, FOOTER) and not differs(plain, full, BADGE)


def test_one_sample_is_written_as_large_as_it_fits():
    short, long = (picture(["wren"], PROMPT, [f"{PROMPT} to sing{more}"]) for more in ("", " on and on" * 30))
    assert differs(short, long, BODY)
    assert written(short)[3] - written(short)[1] < written(long)[3] - written(long)[1] <= BODY[3] - BODY[1]


def test_no_more_than_three_samples_are_shown():
    assert not differs(picture(["wren"], PROMPT, SAMPLES), picture(["wren"], PROMPT, [*SAMPLES, "one more"]))


@pytest.mark.parametrize("others", [[], SAMPLES[:2]])
def test_long_words_are_broken_and_stay_within_the_margin(others):
    image = picture(["wren"], PROMPT, [f"{PROMPT} {'chirp' * 60}", *others])
    assert blank(image, (WIDTH - MARGIN + 1, 152, WIDTH, HEIGHT))
    assert differs(image, picture(["wren"], PROMPT, [f"{PROMPT} chirp", *others]), BODY)


def test_a_title_of_many_people_does_not_run_into_the_badge():
    few, many = picture(["wren", "lark"], PROMPT, []), picture(["long_bird_name1"] * 10, PROMPT, [], name="Birds " * 30)
    box = (WIDTH - MARGIN - 40, 64, WIDTH, 152)
    assert written(few, box) == written(many, box)


def test_emoji_have_their_colours():
    assert colours(picture(["wren"], PROMPT, [f"{PROMPT} tea"])) == 0
    assert colours(picture(["wren"], PROMPT, [f"{PROMPT} tea 🍓"])) > 500


def test_right_to_left_text_is_set_from_the_right():
    latin, hebrew = picture(["wren"], "My", ["My tea"]), picture(["wren"], "שלום", ["שלום עולם"])
    assert written(latin)[0] < 10 and written(latin)[2] < 800
    assert written(hebrew)[0] > 400 and written(hebrew)[2] > 1000


@pytest.mark.parametrize(
    "text",
    [
        "漢字かな",
        "繁體中文",
        "한국어",
        "العربية",
        "עברית",
        "हिन्दी",
        "ไทย",
        "Ελληνικά",
        "Кириллица",
        "Tiếng Việt",
        "👩‍🚀🇫🇷👍🏽",
    ],
)
def test_the_bundled_fonts_hold_the_scripts_and_emoji_that_people_write(text):
    assert {ord(char) for char in text} <= _drawable()


def test_the_list_of_characters_is_that_of_the_fonts():
    held = {char for font in _FONTS for char in TTFont(_FOLDER / f"{font}.woff2", lazy=True).getBestCmap()}
    assert _drawable() == {char for char in held if char >= 0x20}


def test_what_the_fonts_lack_is_left_out():
    plain = draw(["wren"], PROMPT, [f"{PROMPT} tea now"])
    assert draw(["wren"], PROMPT, [f"{PROMPT} tea \U00012000 now\u202e\x07\ue000"]) == plain


def test_markup_is_drawn_as_text():
    assert draw(["wren"], PROMPT, [f"{PROMPT} <b>tea</b>"]) != draw(["wren"], PROMPT, [f"{PROMPT} tea"])
    assert not differs(picture(["wren"], "</div>", []), picture(["wren"], PROMPT, []), FOOTER)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.text(st.characters(), max_size=300), max_size=4), st.text(st.characters(), max_size=60))
def test_nothing_a_bot_says_stops_the_picture(samples, name):
    assert picture(["wren"], PROMPT, samples, name=name).size == (WIDTH, HEIGHT)
