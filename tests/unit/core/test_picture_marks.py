"""The marks in a picture's metadata: programs read in them that a model made it, and what the bot wrote."""

import io
import xml.etree.ElementTree as xml

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pipeline.core.picture import draw
from pipeline.core.picture_marks import DIGITAL_SOURCE_TYPE, mark, marks_of

FILE = io.BytesIO()
Image.new("RGB", (8, 8), "teal").save(FILE, "PNG")
PNG = FILE.getvalue()


def xmp(png: bytes) -> xml.Element:
    text = Image.open(io.BytesIO(png)).info["XML:com.adobe.xmp"]
    return xml.fromstring(text[text.index("<x:xmpmeta") : text.index("<?xpacket end")])


def test_the_digital_source_type_is_where_iptc_puts_it():
    [description] = xmp(mark(PNG)).iter("{http://www.w3.org/1999/02/22-rdf-syntax-ns#}Description")
    name = "{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}DigitalSourceType"
    assert description.attrib[name] == DIGITAL_SOURCE_TYPE
    assert DIGITAL_SOURCE_TYPE == "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"


@given(st.text(), st.text(alphabet="\"'<>&\x00\ufffe\n\\ 🐋"))
def test_any_text_comes_back_as_it_was(said, prompt):
    answer = {"bot": "nasa", "said": said, "prompt": prompt, "signature": "x-_"}
    marked = mark(PNG, **answer)
    assert marks_of(marked) == answer and xmp(marked) is not None
    assert Image.open(io.BytesIO(marked)).tobytes() == Image.open(io.BytesIO(PNG)).tobytes()


def test_a_second_mark_takes_the_place_of_the_first():
    assert mark(mark(PNG, said=" tea"), said=" soup") == mark(PNG, said=" soup")


@pytest.mark.parametrize("picture", [b"", b"no picture", PNG, PNG[:40]])
def test_a_picture_without_a_mark_has_none(picture):
    assert marks_of(picture) is None


def test_every_picture_that_is_drawn_is_marked():
    assert marks_of(draw(["wren"], "My dream is", ["My dream is tea"])) == {}
