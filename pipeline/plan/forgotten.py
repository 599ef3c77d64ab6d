"""The people whom `forget` has removed from a fleet. Their tweets are not read, and no bot of theirs is made.

"nasa" in forgotten(store)
entries(store)["nasa"]                  # {"at": "2026-01-31T23:59:59Z", "wandb": [], "bases": []}
"""

import json
from typing import Any

from pipeline.core.errors import UserError
from pipeline.core.store import Store

FORGOTTEN = "forgotten.json"  # in the store; its keys are handles


def forgotten(store: Store) -> frozenset[str]:
    """Returns the handles of the people who were removed. Raises UserError as `entries` does."""
    return frozenset(entries(store))


def entries(store: Store) -> dict[str, dict[str, Any]]:
    """Returns what is known of each removed person, by handle.

    Raises UserError for a file that cannot be read: without it, everybody who was removed would come back.
    """
    try:
        value = json.loads(store.read(FORGOTTEN))
    except FileNotFoundError:
        return {}
    except ValueError:
        value = None
    if isinstance(value, dict) and all(isinstance(entry, dict) for entry in value.values()):
        return value
    raise UserError(
        f"{store.path(FORGOTTEN)} lists the people whom `forget` removed, and is damaged: restore it, or write "
        '{"HANDLE": {}, …} with their handles'
    )
