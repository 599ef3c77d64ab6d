r"""JSON: the form of our own files, which people may open, and the type of objects from elsewhere.

json_bytes({"handles": ["nasa"]})       # b'{\n  "handles": [\n    "nasa"\n  ]\n}\n'
"""

import json
from collections.abc import Mapping
from typing import Any

# a JSON object that comes from outside: what is in it is checked where it is used
JsonObject = Mapping[str, Any]


def json_bytes(value: Any) -> bytes:
    """Returns `value` as the content of a JSON file in UTF-8: indented, not escaped, with a newline at the end."""
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()
