"""What the gateway shows of a bot's files to everybody: display names made safe to show, metrics without tweets.

display_names({"nasa": "NASA \\u202eevil"})                       # {"nasa": "NASA evil"}
public_metrics({"copying": {"longest_text": "a tweet"}})        # {"copying": {}}
sample({"samples": {"My dream is": ["My dream is tea and rain"]}})     # "My dream is tea and rain"
"""

import unicodedata
from typing import Any

MAX_NAME_CHARS = 60
_SHORTEST_SAMPLE, _LONGEST_SAMPLE = 20, 200  # characters
_JOINERS = "\u200c\u200d"  # of Persian and Indic letters, and of emoji; invisible by themselves but harmless


def display_names(names: Any) -> dict[str, str]:
    """The names of a bot's people as they write them, by handle.

    A name loses its control characters and the marks that change the direction of the text around it, and is cut at
    60 characters.
    """
    if not isinstance(names, dict):
        return {}
    shown = {handle: _display_name(name) for handle, name in names.items() if isinstance(name, str)}
    return {handle: name for handle, name in shown.items() if name}


def public_metrics(metrics: dict[str, Any]) -> dict[str, Any]:
    """The metrics without the longest text that the bot has copied: it stands in somebody's tweets."""
    copying = metrics.get("copying")
    if not isinstance(copying, dict):
        return metrics
    return metrics | {"copying": {name: value for name, value in copying.items() if name != "longest_text"}}


def short_metrics(metrics: dict[str, Any]) -> dict[str, dict[str, float]]:
    """The single numbers of the metrics, without samples, intervals and lists: what a list of many bots shows."""
    return {
        measure: numbers
        for measure, values in metrics.items()
        if isinstance(values, dict)
        and (numbers := {name: value for name, value in values.items() if isinstance(value, int | float)})
    }


def sample(metrics: dict[str, Any]) -> str | None:
    """A text that the bot wrote when it was measured, to show before anybody has asked it; None if there is none.

    It is the first one of some length: a text of two words shows nothing, and a long one does not fit on a card.
    """
    samples = metrics.get("samples")
    texts = (
        [text for of in samples.values() if isinstance(of, list) for text in of] if isinstance(samples, dict) else []
    )
    shown = [" ".join(text.split()) for text in texts if isinstance(text, str)]
    fitting = (text for text in shown if _SHORTEST_SAMPLE <= len(text) <= _LONGEST_SAMPLE)
    return next(fitting, None)


def continuations(metrics: dict[str, Any]) -> tuple[str, tuple[str, ...]]:
    """The prompt that the bot was measured with, and up to three texts that it wrote for it, which begin with it.

    ("", ()) where there are not at least two.
    """
    samples = metrics.get("samples")
    for prompt, texts in samples.items() if isinstance(samples, dict) else ():
        longer = [text for text in texts if isinstance(text, str) and len(text.strip()) > len(prompt)] if prompt else []
        if len(longer) > 1:
            return prompt, tuple(longer[:3])
    return "", ()


def _display_name(name: str) -> str:
    spaced = (" " if char.isspace() else char for char in name[:1_000])
    kept = (char for char in spaced if char in _JOINERS or not unicodedata.category(char).startswith("C"))
    return " ".join("".join(kept).split())[:MAX_NAME_CHARS]
