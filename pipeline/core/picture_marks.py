"""Marks a picture as made by a model, in its metadata: programs read it there, people read the badge in the picture.

    png = mark(png, bot="nasa", said=" to land on Mars", prompt="My dream is", signature=signature)
    answer = marks_of(png)             # {"bot": "nasa", "said": " to land on Mars", …}

The metadata is XMP with IPTC's digital source type, which search engines and social networks read. What the bot wrote
is beside it as JSON, with its signature (signing.py), so that the picture alone is enough to check it.
"""

import io
import json
import re
import struct
import zlib
from html import unescape
from xml.sax.saxutils import quoteattr

from PIL import Image

DIGITAL_SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
_KEYWORD = "XML:com.adobe.xmp"  # under which PNG files hold XMP
_HEADER_BYTES = 8 + 25  # the signature of PNG and its first chunk, IHDR
_XMP = """\
<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
 xmlns:huggingtweets="urn:huggingtweets:answer" Iptc4xmpExt:DigitalSourceType="{source}"{answer}/>
</rdf:RDF></x:xmpmeta>
<?xpacket end="r"?>"""


def mark(png: bytes, **answer: str) -> bytes:
    """The picture with the digital source type in its metadata and, if given, the answer that it shows.

    `answer` has the keys bot, said, prompt and signature. A mark that is there already is replaced.
    """
    # JSON in ASCII, because XML has no way to write some characters that a bot may
    more = f" huggingtweets:answer={quoteattr(json.dumps(answer))}" if answer else ""
    text = _XMP.format(source=DIGITAL_SOURCE_TYPE, answer=more).encode()
    body = b"iTXt" + _KEYWORD.encode() + bytes(5) + text  # not compressed, no language, no translated keyword
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    start = _HEADER_BYTES
    if png[start + 4 : start + 8] == b"iTXt":
        return png[:start] + chunk + png[start + 12 + struct.unpack(">I", png[start : start + 4])[0] :]
    return png[:start] + chunk + png[start:]


def marks_of(png: bytes) -> dict[str, str] | None:
    """The answer in a picture's metadata; {} for a mark without one, None for a picture without a mark."""
    try:
        with Image.open(io.BytesIO(png)) as image:
            xmp = image.info.get(_KEYWORD, "")
    except (OSError, ValueError, Image.DecompressionBombError):
        return None
    if not isinstance(xmp, str) or DIGITAL_SOURCE_TYPE not in xmp:
        return None
    found = re.search(r"""huggingtweets:answer=(?:"([^"]*)"|'([^']*)')""", xmp)
    answer = json.loads(unescape(found[1] or found[2])) if found else {}
    return {name: value for name, value in answer.items() if isinstance(value, str)}
