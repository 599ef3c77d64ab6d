"""What is to be served, fleet by fleet, in Ray's key-value store, where it outlives the registry's process.

save("politicians", record)
load_all()                      # {"politicians": record}
"""

import json
import zlib
from typing import Any, NotRequired, TypedDict

from pipeline.core import ray_internals
from pipeline.core.names import served_name
from pipeline.core.signing import KeyRecord, SigningKey
from serve.http.public_facts import Fooled

_PREFIX = "huggingtweets:fleet:"
_OLD_LINK_KEY = "huggingtweets:signing-key"
_ANSWER_KEY = "huggingtweets:answer-key"
_TALLY = "huggingtweets:game:"


class BotRecord(TypedDict):
    """A bot in the version that is served, with the `serve` settings it was deployed with."""

    version: str
    settings: dict[str, Any]


class ServedBot(BotRecord):
    """The same with its fleet; `newer` is a published version that its replicas do not serve yet."""

    fleet: str
    newer: str | None


class Tally(TypedDict):
    """The rounds of the game with one version of a bot (game.py)."""

    version: str
    fooled: Fooled


class GatewaySettings(TypedDict):
    """What a fleet wants of the gateway."""

    keys: dict[str, float | None]  # digests of API keys: requests per minute, or None for no limit
    origins: list[str]  # web pages elsewhere that may ask (CORS)
    signing_key: str | None  # of old links, in hexadecimal; None: the cluster's
    answer_keys: NotRequired[list[KeyRecord]]  # that sign answers; none: the cluster's
    watermark: NotRequired[str | None]  # the secret of the texts' watermark, in hexadecimal; None: they have none


class NewBots(TypedDict):
    """How to serve bots that are published later: with these settings; `chosen` are their names, None means all."""

    settings: dict[str, Any]
    chosen: list[str] | None


class FleetRecord(TypedDict):
    """A fleet: where its storage is and which of its bots are served, by their own names.

    Without `follow` no bots are added.
    """

    storage: str
    bots: dict[str, BotRecord]
    gateway: GatewaySettings
    follow: NewBots | None


def with_versions(bots: dict[str, BotRecord], new: dict[str, BotRecord]) -> dict[str, BotRecord]:
    """These bots in the versions of the new records, with the settings that they have; and the bots that are new."""
    known = {bot: BotRecord(version=new[bot]["version"], settings=bots[bot]["settings"]) for bot in bots if bot in new}
    return bots | new | known


def by_served_name(fleet: str, bots: dict[str, BotRecord]) -> dict[str, BotRecord]:
    """These bots of a fleet by the names under which they are served."""
    return {served_name(bot, fleet, one["settings"].get("full_names", False)): one for bot, one in bots.items()}


def save(fleet: str, record: FleetRecord) -> None:
    """Writes a fleet's record; removes it where there is nothing to serve."""
    if record["bots"] or record["follow"]:
        ray_internals.kv_put(_PREFIX + fleet, zlib.compress(json.dumps(record).encode()))
    else:
        ray_internals.kv_delete(_PREFIX + fleet)


def load_all() -> dict[str, FleetRecord]:
    """The records of all fleets by name."""
    return {
        key.removeprefix(_PREFIX): json.loads(zlib.decompress(value))
        for key, value in ray_internals.kv_items(_PREFIX).items()
    }


def save_tally(bot: str, tally: Tally) -> None:
    """Writes the tally of a bot, which is named as it is served."""
    ray_internals.kv_put(_TALLY + bot, json.dumps(tally).encode())


def delete_tallies(bots: list[str]) -> None:
    """Deletes the tallies of these bots."""
    for bot in bots:
        ray_internals.kv_delete(_TALLY + bot)


def load_tallies() -> dict[str, Tally]:
    """The tallies of all bots with which somebody has played."""
    return {key.removeprefix(_TALLY): json.loads(tally) for key, tally in ray_internals.kv_items(_TALLY).items()}


def own_answer_keys(settings: GatewaySettings) -> tuple[SigningKey, ...]:
    """The keys that sign a fleet's answers; none where the cluster's does."""
    return tuple(SigningKey.of(record) for record in settings.get("answer_keys", []))


def own_old_link_key(settings: GatewaySettings) -> bytes | None:
    """The key of old links to a fleet's answers; None where it is the cluster's."""
    return bytes.fromhex(settings["signing_key"]) if settings["signing_key"] else None


def own_watermark(settings: GatewaySettings) -> bytes | None:
    """The secret of a fleet's watermark, or None if its texts have none, as in records of an earlier release."""
    secret = settings.get("watermark")
    return bytes.fromhex(secret) if secret else None


def answer_key() -> SigningKey:
    """The key that signs answers of fleets whose stores are read-only; it lives as long as the cluster."""
    record = SigningKey.new().record
    ray_internals.kv_create(_ANSWER_KEY, json.dumps(record).encode())
    return SigningKey.of(json.loads(ray_internals.kv_items(_ANSWER_KEY)[_ANSWER_KEY]))


def old_link_key() -> bytes | None:
    """The key of old links to answers of such fleets, if this cluster ever made one (serve/http/web/old_links.py)."""
    return ray_internals.kv_items(_OLD_LINK_KEY).get(_OLD_LINK_KEY)
