"""predictions.png: what a bot says, 1200x630, clearly marked as a machine's words.

Path("predictions.png").write_bytes(draw(["nasa"], "My dream is", ["My dream is to land on Mars 🚀"]))

Laid out by a template in HTML and CSS (assets/picture/) in the fonts that lie beside it and in no others: the same
words give the same picture on a laptop, in a container without fonts, and at the gateway. What no font holds is left
out rather than drawn as an empty box.
"""

import functools
import io
import unicodedata
from collections.abc import Iterator

import pytakumi
from PIL import Image, ImageOps

from pipeline.core.own_code import ASSETS
from pipeline.core.templates import render

WIDTH, HEIGHT = 1200, 630
_FOLDER = ASSETS / "picture"
# each stands in for what those before it lack
_FONTS = ["Inter", "Newsreader", "Twemoji", "NotoSansCJK"]
_FONTS += ["NotoSansArabic", "NotoSansHebrew", "NotoSansDevanagari", "NotoSansThai"]
_SHOWN = 3  # samples
_SIZES = range(76, 28, -4)  # pixels, for a single sample: the first at which all of it fits
_SINGLE_WIDTH, _SINGLE_PIXELS = 1056, 366  # width and height that a single sample has
_PROMPT_CHARS, _SAID_CHARS = 240, 900  # more never fits
_OPENING_CHARS = 60  # of a prompt that is quoted apart
_OPENING_PIXELS = 60  # its height in the picture
_FACES = 3  # people of a blend who are shown as circles
_FACE = 176  # pixels, twice what is shown


def draw(
    handles: list[str], prompt: str, samples: list[str], name: str | None = None, picture: bytes | None = None
) -> bytes:
    """The picture as PNG: one sample in large letters, with its prompt quoted apart, or up to three below their prompt.

    Samples begin with the prompt. `name` is the person's as people write it; `picture` their profile picture in any
    format that Pillow reads; an initial stands in where it is missing or broken.
    """
    said = [_text(sample.removeprefix(prompt)[:_SAID_CHARS]) for sample in samples[:_SHOWN]]
    asked = _text(prompt[-_PROMPT_CHARS:]).strip()
    single = said[0].strip() if len(said) == 1 else ""
    face = square(picture) if picture else None
    html = render(
        _FOLDER / "picture.html.j2",
        ink=ink("-".join(handles)),
        faces=[{"initial": _initial(name or handle), "ink": ink(handle)} for handle in handles[:_FACES]],
        pictured=face is not None,
        name=_text(name or ""),
        handles=" & ".join(f"@{handle}" for handle in handles),
        badge="AI CYBORG" if len(handles) > 1 else "AI BOT",
        prompt=asked,
        opening=opening(asked) if asked else "",
        direction=_direction(asked),
        said=[{"text": text, "direction": _direction(text)} for text in said],
        size=_size(single, _SINGLE_PIXELS - bool(asked) * _OPENING_PIXELS) if len(said) == 1 else None,
        note=_note(handles),
    )
    return _renderer().render_html(
        html,
        width=WIDTH,
        height=HEIGHT,
        stylesheets=[_css()],
        images={"face": face} if face else {},
        font_families=_FONTS,
    )


def opening(prompt: str) -> str:
    """A visitor's prompt, quoted apart from what the bot wrote: `Someone began: “My dream is”`, 60 characters of it."""
    text = " ".join(prompt.split())
    shown = text if len(text) <= _OPENING_CHARS else f"{text[: _OPENING_CHARS - 1]}…"
    return f"Someone began: “{shown}”"


def profile_file(handle: str) -> str:
    """The file of a model folder that holds a person's picture, as `square` makes it."""
    return f"profile-{handle}.png"


def ink(name: str) -> str:
    """A bot's own colour, dark enough for white letters; the page computes the same."""
    hue = 0
    for char in name:
        hue = (hue * 31 + ord(char)) % 360
    return f"oklch(0.47 0.14 {hue * 137 % 360})"  # neighbours far apart


def _text(raw: str) -> str:
    """In composed characters, white space as single spaces, without what the fonts lack (controls among it)."""
    drawable = _drawable()
    chars = (" " if char.isspace() else char for char in unicodedata.normalize("NFC", raw))
    text = "".join(char for char in chars if ord(char) in drawable)
    return " " * text.startswith(" ") + " ".join(text.split())


def _direction(text: str) -> str:
    """rtl or ltr, by the first letter that has a direction, as a browser's dir=auto."""
    strong = next((kind for char in text if (kind := unicodedata.bidirectional(char)) in ("L", "R", "AL")), "L")
    return "ltr" if strong == "L" else "rtl"


def _initial(name: str) -> str:
    return next((char.upper() for char in name if char.isalnum()), "@")[0]


def _note(handles: list[str]) -> str:
    if len(handles) == 1:
        return f"Written by a language model that learned from @{handles[0]}’s tweets, not by the person."
    return f"Written by a language model that learned from {len(handles)} people’s tweets, not by them."


def square(picture: bytes) -> bytes | None:
    """A profile picture as a small square PNG, or None where it is not one."""
    try:
        with Image.open(io.BytesIO(picture)) as image:
            image.draft("RGB", (_FACE, _FACE))
            fitted = ImageOps.fit(image.convert("RGB"), (_FACE, _FACE))
    except (OSError, ValueError, Image.DecompressionBombError):
        return None
    buffer = io.BytesIO()
    fitted.save(buffer, "PNG")
    return buffer.getvalue()


def _size(text: str, height: int) -> int:
    """The largest font size at which the text fits into this height."""
    for size in _SIZES:
        node = pytakumi.container([pytakumi.text_node(text)], style={"fontSize": size}, class_name="one")
        measured = _renderer().measure(node, width=_SINGLE_WIDTH, stylesheets=[_css()], font_families=_FONTS)
        if measured["height"] <= height:
            return size
    return _SIZES[-1]


@functools.cache
def _renderer() -> pytakumi.Renderer:
    renderer = pytakumi.Renderer()
    for font in _FONTS:
        renderer.register_font((_FOLDER / f"{font}.woff2").read_bytes(), name=font)
    return renderer


@functools.cache
def _css() -> str:
    return (_FOLDER / "picture.css").read_text(encoding="utf-8")


@functools.cache
def _drawable() -> frozenset[int]:
    """The characters that at least one of the fonts holds; the file is made with the fonts."""
    return frozenset(_ranges((_FOLDER / "characters.txt").read_text()))


def _ranges(text: str) -> Iterator[int]:
    """`20-7E A0` as numbers."""
    for item in text.split():
        first, _, last = item.partition("-")
        yield from range(int(first, 16), int(last or first, 16) + 1)
