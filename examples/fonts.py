"""Makes the fonts of pipeline/assets/picture and of the page from the whole ones, and the list of what they hold.

    pip install fonttools brotli fontpkg-inter fontpkg-newsreader fontpkg-noto-sans-arabic \
        fontpkg-noto-sans-devanagari fontpkg-noto-sans-thai
    apt-get install fonts-noto-cjk
    npm pack @fontsource-variable/noto-sans-hebrew twemoji-colr-font     # unpack their .woff2 into the folder first
    python examples/fonts.py

Licences: pipeline/assets/picture/README.md.
"""

import importlib
import io
import textwrap
from collections.abc import Iterator
from pathlib import Path

from fontTools import subset
from fontTools.ttLib import TTFont
from fontTools.varLib import instancer

ROOT = Path(__file__).parent.parent
OUT = ROOT / "pipeline/assets/picture"
CJK = "/usr/share/fonts/opentype/noto/NotoSansCJK-Regular.ttc"
LATIN = "0-2AF 2B0-36F 1E00-1EFF 2000-206F 2070-209F 20A0-20BF 2100-214F 2190-21FF 2200-22FF 25A0-25FF FB00-FB06 FFFD"
WESTERN = "20-7E A0-FF 131 152 153 2C6 2DA 2DC 2009-2026 2032 2033 2039 203A 20AC 2122 2190-2193 2212"
ARABIC = "600-6FF 750-77F 8A0-8FF FB50-FDFF FE70-FEFF"
DEVANAGARI = "900-97F A8E0-A8FF 1CD0-1CFF 200C 200D 25CC"
THAI = "E00-E7F 25CC"
CJK_SIGNS = "1100-11FF 3000-30FF 31F0-32FF FF00-FFEF"


def main() -> None:
    cut(packaged("inter"), "Inter", LATIN + " 370-3FF 400-52F", {"opsz": 20, "wght": (400, 700)})
    cut(packaged("newsreader"), "Newsreader", LATIN, {"opsz": 40, "wght": (400, 600)})
    cut(packaged("noto_sans_arabic"), "NotoSansArabic", ARABIC, {"wdth": 100, "wght": 400})
    cut(packaged("noto_sans_devanagari"), "NotoSansDevanagari", DEVANAGARI, {"wdth": 100, "wght": 400})
    cut(packaged("noto_sans_thai"), "NotoSansThai", THAI, {"wdth": 100, "wght": 400})
    cut(TTFont(CJK, fontNumber=0), "NotoSansCJK", CJK_SIGNS, {}, set(common_cjk()))
    cut(packaged("newsreader"), "Newsreader", WESTERN, {"opsz": 32, "wght": 400}, out=ROOT / "serve/http/web/static")
    (OUT / "characters.txt").write_text("\n".join(textwrap.wrap(held(), 118, break_on_hyphens=False)) + "\n")


def packaged(name: str) -> TTFont:
    """The upright font of a fontpkg package."""
    folder = Path(str(importlib.import_module(f"fontpkg_{name}").__file__)).parent / "files"
    return TTFont(next(path for path in folder.glob("*.ttf") if "Italic" not in path.name))


def cut(font: TTFont, name: str, ranges: str, axes: dict, more: set[int] = frozenset(), out: Path = OUT) -> None:
    """Writes the font with these characters, at these places or ranges of its axes, as woff2."""
    if axes:
        whole = io.BytesIO()
        instancer.instantiateVariableFont(font, axes).save(whole)
        font = TTFont(whole)
    options = subset.Options(flavor="woff2", hinting=False, desubroutinize=True)
    subsetter = subset.Subsetter(options)
    subsetter.populate(unicodes=set(numbers(ranges)) | more)
    subsetter.subset(font)
    subset.save_font(font, str(out / f"{name}.woff2"), options)


def numbers(ranges: str) -> Iterator[int]:
    for item in ranges.split():
        first, _, last = item.partition("-")
        yield from range(int(first, 16), int(last or first, 16) + 1)


def common_cjk() -> Iterator[int]:
    """The first, common level of each national standard, and hangul."""
    trail = range(0xA1, 0xFF)
    for codec, leads, trails in (
        ("gb2312", range(0xB0, 0xD8), trail),
        ("euc_jp", range(0xB0, 0xD0), trail),
        ("euc_kr", range(0xB0, 0xC9), trail),
        ("big5", range(0xA4, 0xC7), [*range(0x40, 0x7F), *trail]),
    ):
        for lead in leads:
            for second in trails:
                char = bytes([lead, second]).decode(codec, "ignore")
                if len(char) == 1:
                    yield ord(char)


def held() -> str:
    """The characters of all the fonts, as `20-7E A0`."""
    fonts = OUT.glob("*.woff2")
    codes = sorted({code for path in fonts for code in TTFont(path, lazy=True).getBestCmap() if code >= 0x20})
    ranges: list[list[int]] = []
    for code in codes:
        if ranges and ranges[-1][1] == code - 1:
            ranges[-1][1] = code
        else:
            ranges.append([code, code])
    return " ".join(f"{first:X}" if first == last else f"{first:X}-{last:X}" for first, last in ranges)


if __name__ == "__main__":
    main()
