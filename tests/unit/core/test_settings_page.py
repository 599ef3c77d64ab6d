"""docs/settings.md: it lists every key of the fleet file as the code has it."""

import pytest

from docs.settings_page import page
from pipeline.core import settings
from pipeline.core.fleet import Fleet
from pipeline.core.settings import Section
from tests.support.toys import ROOT

SECTIONS = [Fleet, *(one for one in vars(settings).values() if isinstance(one, type) and issubclass(one, Section))]


def test_the_page_is_what_the_script_writes_now():
    written = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    assert written == page(), "run: python docs/settings_page.py > docs/settings.md"


@pytest.mark.parametrize("section", SECTIONS)
def test_every_key_is_described_on_the_page(section):
    text = page()
    assert section.__doc__
    for name, field in section.model_fields.items():
        assert field.description and f"| `{field.alias or name}` |" in text and field.description in text


def test_the_page_names_defaults_limits_and_what_mini_changes():
    text = page()
    assert "| `epochs` | whole number | `4` | ≥ 1 | How often each training tweet is seen. |" in text
    assert "| `block_size` | whole number | `1024` | ≥ 8 |" in text and "| `train.block_size` | `256` |" in text
    assert "6,000 characters" in text and "40,000 characters" in text
