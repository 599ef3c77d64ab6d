"""predictions.png: what a bot says, 1200x630, clearly marked as a machine's words.

Path("predictions.png").write_bytes(draw(["nasa"], "My dream is", ["My dream is to land on Mars"]))
"""

import io
import unicodedata

from PIL import Image, ImageDraw, ImageFont

WIDTH, HEIGHT, MARGIN = 1200, 630, 72
_INK, _SOFT, _PAPER, _ACCENT, _RULE = "#14171f", "#6b7280", "#fbfaf7", "#2f6fed", "#e4e2dc"
_SHOWN = 3  # samples
_LINES = 2  # for each of them


def draw(handles: list[str], prompt: str, samples: list[str]) -> bytes:
    """The picture as PNG. Characters that the font lacks (emoji among them) are left out."""
    image = Image.new("RGB", (WIDTH, HEIGHT), _PAPER)
    canvas = ImageDraw.Draw(image)
    canvas.rectangle((0, 0, 14, HEIGHT), fill=_ACCENT)
    title = " & ".join(f"@{handle}" for handle in handles)
    canvas.text((MARGIN, 56), _cut(title, _font(52), WIDTH - 2 * MARGIN - 220), _INK, _font(52))
    badge = "AI CYBORG" if len(handles) > 1 else "AI BOT"
    _badge(canvas, badge)
    y = 158
    for sample in samples[:_SHOWN]:
        said = _drawable(sample.removeprefix(prompt).strip())
        canvas.text((MARGIN, y), prompt, _SOFT, _font(26))
        y += 34
        for line in _wrapped(f"… {said}" if said else "…", _font(34), WIDTH - 2 * MARGIN)[:_LINES]:
            canvas.text((MARGIN, y), line, _INK, _font(34))
            y += 40
        y += 8
        canvas.line((MARGIN, y, WIDTH - MARGIN, y), _RULE, 2)
        y += 12  # three samples of two lines end above the footer
    footer = "Written by a language model that learned from tweets; not said by the person. huggingtweets-ray"
    canvas.text((MARGIN, HEIGHT - 52), footer, _SOFT, _font(22))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def _font(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.load_default(size)  # type: ignore[return-value]


def _badge(canvas: ImageDraw.ImageDraw, text: str) -> None:
    width = canvas.textlength(text, _font(28))
    right, top = WIDTH - MARGIN, 62
    canvas.rounded_rectangle((right - width - 40, top, right, top + 52), 26, fill=_ACCENT)
    canvas.text((right - width - 20, top + 9), text, "white", _font(28))


def _drawable(text: str) -> str:
    """The text in the characters of the built-in font: Latin letters, digits and punctuation."""
    plain = text.translate({0x2018: "'", 0x2019: "'", 0x201C: '"', 0x201D: '"', 0x2013: "-", 0x2014: "-"})
    kept = (char for char in plain if char == "…" or (ord(char) < 0x250 and unicodedata.category(char)[0] != "C"))
    return " ".join("".join(kept).split())


def _wrapped(text: str, font: ImageFont.FreeTypeFont, width: float) -> list[str]:
    """Lines no wider than `width` pixels; a word that is wider alone is broken."""
    lines: list[str] = []
    for word in text.split():
        if lines and font.getlength(f"{lines[-1]} {word}") <= width:
            lines[-1] += f" {word}"
            continue
        while font.getlength(word) > width:
            fits = next(n for n in range(len(word), 0, -1) if font.getlength(word[:n]) <= width)
            lines.append(word[:fits])
            word = word[fits:]
        lines.append(word)
    return lines


def _cut(text: str, font: ImageFont.FreeTypeFont, width: float) -> str:
    while text and font.getlength(text) > width:
        text = text.rstrip("…")[:-1] + "…"
    return text
