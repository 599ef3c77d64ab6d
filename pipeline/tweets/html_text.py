"""Converts HTML, the form in which Mastodon and Truth Social store posts, to plain text.

plain_text("<p>Tea &amp; cake<br>at four</p><p>#ferry</p>")      # "Tea & cake\nat four\n\n#ferry"
"""

import re
from html.parser import HTMLParser

_MARKUP = re.compile(r"</?(?:p|br|a|span|div|strong|em|blockquote|ul|ol|li|h\d|pre|code)\b[^<>]*>", re.IGNORECASE)


def is_html(text: str) -> bool:
    """Whether a text contains HTML elements that posts use."""
    return "<" in text and _MARKUP.search(text) is not None


def plain_text(text: str) -> str:
    """Returns the text without elements and with entities decoded; a blank line separates paragraphs."""
    parser = _Text()
    parser.feed(text)
    parser.close()
    return re.sub(r"\n{3,}", "\n\n", "".join(parser.parts)).strip()


class _Text(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "br":
            self.parts.append("\n")
        elif tag in ("p", "div", "blockquote", "pre"):
            self.parts.append("\n\n" if self.parts else "")
        elif tag == "li":
            self.parts.append("\n")

    def handle_endtag(self, tag: str) -> None:
        if tag in ("p", "div", "blockquote", "pre"):
            self.parts.append("\n\n")

    def handle_data(self, data: str) -> None:
        self.parts.append(data)
