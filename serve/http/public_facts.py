"""What everybody may see of a bot: its facts without anybody's tweets, and texts that it wrote when it was measured.

display_names({"nasa": "NASA \\u202eevil"})                       # {"nasa": "NASA evil"}
public_metrics({"copying": {"longest_text": "a tweet"}})        # {"copying": {}}
sample({"samples": {"My dream is": ["My dream is tea and rain"]}})     # "My dream is tea and rain"
openings({"samples": {"": ["Today we watch the rain."]}})              # ["Today we watch"]
without_lead_in("We land at noon. Watch:")                      # "We land at noon."
"""

import re
import unicodedata
from collections.abc import Callable, Mapping
from typing import Any, Literal, NotRequired, TypedDict

MAX_NAME_CHARS = 60
Metrics = dict[str, Any]  # metrics.json, or anything else that this file of a bot contains
Order = Literal["name", "tweets", "voice"]  # of a list of bots
_SHORTEST_SAMPLE, _LONGEST_SAMPLE = 20, 200  # characters
_OPENINGS, _OPENING_CHARS = 4, 28  # of a bot, at most
_JOINERS = "\u200c\u200d"  # of Persian and Indic letters, and of emoji; invisible by themselves but harmless
_OPENING_WORDS = 3
_I = ("I", "I'm", "I’m")
# up to four words and a colon after the end of a sentence or an emoji: the link that followed was removed in training
_LEAD_IN = re.compile(r"(?<=[^\w\s,;:@#&-])\s+[^\W\d_]['’\w]*(?: [\w'’]+){0,3} ?[:→]\s*$")


class BotFacts(TypedDict):
    """What of a bot decides its place in a list, and whether a search finds it."""

    counts: dict[str, Any]  # `tweets` of stats.json
    metrics: Metrics
    names: dict[str, str]  # display names by handle


class Fooled(TypedDict):
    """How often visitors who looked for the real tweet picked a text of the bot's instead."""

    rounds: int
    fooled: int


class Outcome(TypedDict):
    """The end of a round of the game: the place of the real tweet, whether it was found, and the bot's tally."""

    real: int
    found: bool
    fooled: Fooled


class PublicBot(BotFacts):
    """A bot as `GET /bots/{bot}` shows it."""

    name: str
    fleet: str
    handles: list[str]
    pictures: list[str]  # handles with a profile picture
    version: str
    newer: str | None  # a published version that is not served yet
    ready: bool
    endpoint: str  # dedicated, pooled or auto
    since: int  # when it was taken into the gateway's table, in seconds since 1970
    links: dict[str, str]
    contact: NotRequired[str | None]  # where people report it; as `search_engines`, unknown to earlier registries
    search_engines: NotRequired[bool]  # whether they may list its page
    fooled: NotRequired[Fooled | None]  # None: the fleet has no game


class ListedBot(PublicBot):
    """A bot in a list: the single numbers of its metrics, and one text that it wrote."""

    sample: str | None


class DescribedBot(ListedBot):
    """A bot by itself: all of its metrics, and how its own texts begin."""

    openings: list[str]


def listed(bot: PublicBot) -> ListedBot:
    """The bot as a list shows it."""
    return {**bot, "metrics": short_metrics(bot["metrics"]), "sample": sample(bot["metrics"])}


def described(bot: PublicBot) -> DescribedBot:
    """The bot as it is shown by itself."""
    return {**bot, "sample": sample(bot["metrics"]), "openings": openings(bot["metrics"])}


def ordered(bots: Mapping[str, BotFacts], order: Order) -> list[str]:
    """The names of these bots: by name, most tweets first, or most often taken for their person first."""
    if order == "name":
        return sorted(bots)
    value = _VALUES[order]
    return sorted(bots, key=lambda name: (-value(bots[name]), name))


def display_names(names: Any) -> dict[str, str]:
    """The names of a bot's people as they write them, by handle.

    A name loses its control characters and the marks that change the direction of the text around it, and is cut at
    60 characters.
    """
    if not isinstance(names, dict):
        return {}
    shown = {handle: _display_name(name) for handle, name in names.items() if isinstance(name, str)}
    return {handle: name for handle, name in shown.items() if name}


def public_metrics(metrics: Metrics) -> Metrics:
    """The metrics without the longest text that the bot has copied: it stands in somebody's tweets."""
    copying = metrics.get("copying")
    if not isinstance(copying, dict):
        return metrics
    return metrics | {"copying": {name: value for name, value in copying.items() if name != "longest_text"}}


def short_metrics(metrics: Metrics) -> dict[str, dict[str, float]]:
    """The single numbers of the metrics, without samples, intervals and lists: what a list of many bots shows."""
    return {
        measure: numbers
        for measure, values in metrics.items()
        if isinstance(values, dict)
        and (numbers := {name: value for name, value in values.items() if isinstance(value, int | float)})
    }


def sample(metrics: Metrics) -> str | None:
    """A text that the bot wrote when it was measured, to show before anybody has asked it; None if there is none.

    It is the first one of some length: a text of two words shows nothing, and a long one does not fit on a card.
    """
    shown = (without_lead_in(" ".join(text.split())) for texts in _samples(metrics).values() for text in texts)
    return next((text for text in shown if _SHORTEST_SAMPLE <= len(text) <= _LONGEST_SAMPLE), None)


def openings(metrics: Metrics) -> list[str]:
    """The first two or three words of up to four texts that the bot wrote without a prompt: how its person begins.

    Only words of letters, and after the first none with a capital letter: accounts, numbers and most names stay out.
    """
    found = dict.fromkeys(_opening(text.split()) for text in _samples(metrics).get("", []))
    return [text for text in found if 0 < len(text) <= _OPENING_CHARS][:_OPENINGS]


def continuations(metrics: Metrics) -> tuple[str, tuple[str, ...]]:
    """The prompt that the bot was measured with, and up to three texts that it wrote for it, which begin with it.

    ("", ()) where there are not at least two.
    """
    for prompt, texts in _samples(metrics).items():
        longer = [text for text in texts if len(text.strip()) > len(prompt)] if prompt else []
        if len(longer) > 1:
            return prompt, tuple(longer[:3])
    return "", ()


def without_lead_in(text: str) -> str:
    """A bot's text as people are shown it: without words at its end that announce a link, such as `Watch:`.

    Training removes links, so a bot learns to announce what never follows. static/dom.js does the same; what is
    signed and copied by programs is the whole text.
    """
    return _LEAD_IN.sub("", text)


def _opening(words: list[str]) -> str:
    """How a text of these words begins; "" if it begins with anything but words, or has nothing after them."""
    shown: list[str] = []
    for word in words[: min(_OPENING_WORDS, len(words) - 1)]:
        if not word.replace("'", "").replace("’", "").isalpha() or (shown and not word.islower() and word not in _I):
            break
        shown.append(word)
    return " ".join(shown) if len(shown) > 1 else ""


def _samples(metrics: Metrics) -> dict[str, list[str]]:
    """By prompt, the texts that the bot wrote when it was measured; the file may contain anything."""
    samples = metrics.get("samples")
    if not isinstance(samples, dict):
        return {}
    return {
        prompt: [text for text in texts if isinstance(text, str)]
        for prompt, texts in samples.items()
        if isinstance(texts, list)
    }


def _learned(bot: BotFacts) -> float:
    """How many tweets a bot was trained on."""
    kept = [count.get("kept") for count in bot["counts"].values() if isinstance(count, dict)]
    return sum(number for number in kept if isinstance(number, int | float))


def _taken_for_person(bot: BotFacts) -> float:
    """The share of a bot's texts that the classifier takes for its person's; -1 where it is not measured."""
    voice = bot["metrics"].get("voice")
    share = voice.get("top1") if isinstance(voice, dict) else None
    return share if isinstance(share, int | float) else -1


_VALUES: dict[Order, Callable[[BotFacts], float]] = {"tweets": _learned, "voice": _taken_for_person}


def _display_name(name: str) -> str:
    spaced = (" " if char.isspace() else char for char in name[:1_000])
    kept = (char for char in spaced if char in _JOINERS or not unicodedata.category(char).startswith("C"))
    return " ".join("".join(kept).split())[:MAX_NAME_CHARS]
