r"""The form of the JSON files that people may open: indented, readable in any language, with a newline at the end.

json_bytes({"handles": ["nasa"]})       # b'{\n  "handles": [\n    "nasa"\n  ]\n}\n'
"""

import json
from typing import Any


def json_bytes(value: Any) -> bytes:
    """Returns `value` as the content of a JSON file, in UTF-8."""
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()
