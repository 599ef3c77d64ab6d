"""Templates: what becomes of the values in cards and in pages, and of a value that is missing."""

import pytest
from jinja2 import UndefinedError
from markupsafe import Markup

from pipeline.core.templates import render


def test_a_page_escapes_its_values_but_for_markup(tmp_path):
    page = tmp_path / "page.html.j2"
    page.write_text("<p>{{ shown }}</p>{{ plot }}", encoding="utf-8")
    assert render(page, shown="<script>", plot=Markup("<svg/>")) == "<p>&lt;script&gt;</p><svg/>\n"


def test_a_card_has_its_values_as_they_are(tmp_path):
    card = tmp_path / "card.md.j2"
    card.write_text("{% for one in shown %}\n  - {{ one }}\n{% endfor %}\n\n\n", encoding="utf-8")
    assert render(card, shown=["a & b", "<i>"]) == "  - a & b\n  - <i>\n"


def test_a_value_that_is_missing_is_an_error(tmp_path):
    (tmp_path / "card.md.j2").write_text("{{ shown }}", encoding="utf-8")
    with pytest.raises(UndefinedError, match="shown"):
        render(tmp_path / "card.md.j2")
