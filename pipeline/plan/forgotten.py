"""The people whom `forget` has removed from a fleet. Their tweets are not read, and no bot of theirs is made.

"nasa" in forgotten(store)
"nasa_hq" in left_out(store)            # an account that the fleet file listed for nasa
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


def left_out(store: Store) -> frozenset[str]:
    """Returns these handles and those of the people's accounts, which the fleet file may not list any more.

    Raises UserError as `entries` does.
    """
    known = entries(store)
    return frozenset(known).union(*(entry.get("accounts", []) for entry in known.values()))


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
