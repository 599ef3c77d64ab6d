"""What the registry and a gateway tell each other, once a second."""

from typing import NotRequired, TypedDict

from pipeline.core.signing import Keyring
from serve.deployments.gateway_metrics import Report
from serve.deployments.published import BotEntry


class GatewayReport(TypedDict):
    """What a gateway reports of itself: each bot's mean number of ongoing requests, and what it counted."""

    busy: dict[str, float]
    metrics: Report


class News(TypedDict):
    """What changed since a revision of the table. For a revision of another registry process all is new (`whole`)."""

    epoch: str  # of this process
    revision: int
    whole: bool
    bots: dict[str, BotEntry | None]  # None: not served any more
    keys: dict[str, float | None]  # see GatewaySettings, for all fleets
    origins: list[str]
    gateways: int  # at work
    storages: dict[str, str]  # by fleet
    keyrings: dict[str, Keyring]  # by fleet: the keys that sign answers
    old_link_keys: dict[str, bytes | None]  # by fleet
    watermarks: NotRequired[dict[str, bytes | None]]  # by fleet: the secret; a registry of an earlier release has none
