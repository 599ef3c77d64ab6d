"""predictions.png: a picture, 1200x630, of what a bot writes, clearly marked as a machine's.

Path("predictions.png").write_bytes(draw(["nasa"], "My dream is", ["My dream is to land on Mars 🚀"]))

A template in HTML and CSS (assets/picture/) is drawn with the fonts beside it and no others, so the same text gives the
same picture on every machine. Characters that no font has are left out; they would be drawn as empty boxes.
"""

import functools
import io
import unicodedata
from collections.abc import Iterator

import pytakumi
from PIL import Image, ImageOps

from pipeline.core.own_code import ASSETS
from pipeline.core.picture_marks import mark
from pipeline.core.templates import render

WIDTH, HEIGHT = 1200, 630
_FOLDER = ASSETS / "picture"
# each for the characters that those before it lack
_FONTS = ["Inter", "Newsreader", "Twemoji", "NotoSansCJK"]
_FONTS += ["NotoSansArabic", "NotoSansHebrew", "NotoSansDevanagari", "NotoSansThai"]
_SHOWN = 3  # samples in a picture, at most
_SIZES = range(76, 28, -4)  # font sizes in pixels for a single sample: the first at which it fits
_SINGLE_WIDTH, _SINGLE_PIXELS = 1056, 366  # width and height that a single sample has
_PROMPT_CHARS, _SAMPLE_CHARS = 240, 900  # longer ones never fit
_QUOTED_CHARS = 60  # of a prompt that is quoted apart
_QUOTED_PIXELS = 60  # its height in the picture
_FACES = 3  # people of a blend that are shown, each by a circle
_FACE = 176  # pixels, twice the size in the picture


def draw(
    handles: list[str], prompt: str, samples: list[str], name: str | None = None, picture: bytes | None = None
) -> bytes:
    """The picture as PNG: one sample in large letters, with its prompt quoted apart, or up to three below their prompt.

    Samples begin with the prompt. `name` is the person's as people write it; `picture` their profile picture in any
    format that Pillow reads. Where it is missing or broken, the person's initial is drawn instead.
    """
    texts = [_text(sample.removeprefix(prompt)[:_SAMPLE_CHARS]) for sample in samples[:_SHOWN]]
    asked = _text(prompt[-_PROMPT_CHARS:]).strip()
    single = texts[0].strip() if len(texts) == 1 else ""
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
        quoted_prompt=quoted_prompt(asked),
        direction=_direction(asked),
        samples=[{"text": text, "direction": _direction(text)} for text in texts],
        size=_size(single, _SINGLE_PIXELS - bool(asked) * _QUOTED_PIXELS) if len(texts) == 1 else None,
        note=_note(handles),
    )
    png = _renderer().render_html(
        html,
        width=WIDTH,
        height=HEIGHT,
        stylesheets=[_css()],
        images={"face": face} if face else {},
        font_families=_FONTS,
    )
    return mark(png)


def quoted_prompt(prompt: str) -> str:
    """A visitor's prompt, quoted apart from what the bot wrote: `Someone began: “My dream is”`.

    At most 60 characters of it are quoted; without a prompt the result is empty.
    """
    text = " ".join(prompt.split())
    if not text:
        return ""
    shown = text if len(text) <= _QUOTED_CHARS else f"{text[: _QUOTED_CHARS - 1]}…"
    return f"Someone began: “{shown}”"


def profile_file(handle: str) -> str:
    """Returns the name of the file in a model folder that has a person's picture."""
    return f"profile-{handle}.png"


def ink(name: str) -> str:
    """Returns a CSS colour for a bot, dark enough for white letters. static/*.js computes the same."""
    hue = 0
    for char in name:
        hue = (hue * 31 + ord(char)) % 360
    return f"oklch(0.47 0.14 {hue * 137 % 360})"  # similar names get colours far apart


def _text(raw: str) -> str:
    """Returns text that the fonts can draw: composed characters, single spaces, and nothing that the fonts lack."""
    drawable = _drawable()
    chars = (" " if char.isspace() else char for char in unicodedata.normalize("NFC", raw))
    text = "".join(char for char in chars if ord(char) in drawable)
    return " " * text.startswith(" ") + " ".join(text.split())


def _direction(text: str) -> str:
    """Returns "rtl" or "ltr", by the first letter that has a direction, as dir=auto does in browsers."""
    strong = next((kind for char in text if (kind := unicodedata.bidirectional(char)) in ("L", "R", "AL")), "L")
    return "ltr" if strong == "L" else "rtl"


def _initial(name: str) -> str:
    return next((char.upper() for char in name if char.isalnum()), "@")[0]


def _note(handles: list[str]) -> str:
    if len(handles) == 1:
        return f"Written by a language model that learned from @{handles[0]}’s tweets, not by the person."
    return f"Written by a language model that learned from {len(handles)} people’s tweets, not by them."


def square(picture: bytes) -> bytes | None:
    """Returns a picture, in any format that Pillow reads, as a small square PNG; None if it cannot be read."""
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
    """Returns the code points that at least one of the fonts has; the file is made together with the fonts."""
    return frozenset(_ranges((_FOLDER / "characters.txt").read_text()))


def _ranges(text: str) -> Iterator[int]:
    """Yields the numbers in text such as "20-7E A0"."""
    for item in text.split():
        first, _, last = item.partition("-")
        yield from range(int(first, 16), int(last or first, 16) + 1)
