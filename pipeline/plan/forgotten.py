"""The people whom `forget` has removed from a fleet. Their tweets are not read, and no bot of theirs is made.

"nasa" in forgotten(store)
"""

from pipeline.core.store import Store

FORGOTTEN = "forgotten.json"  # in the store; its keys are handles


def forgotten(store: Store) -> frozenset[str]:
    """Returns the handles of the people who were removed."""
    return frozenset(store.read_json(FORGOTTEN))
