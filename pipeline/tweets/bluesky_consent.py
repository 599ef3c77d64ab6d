"""The published preferences of Bluesky accounts about AI, in records of `community.lexicon.preference.ai`.

    refused_use([{"preferences": {"training": {"allow": False}}}])      # "training"
    refused_use([{"preferences": {}}])                                  # None: no preference is given

A record allows or refuses single uses. A bot learns from the posts and writes text like them, so two of the uses
concern us: `training` and `syntheticContent`.
"""

from collections.abc import Iterable
from typing import Any

PREFERENCES = "preferences"  # where a downloaded page holds the account's records
_USES = {"training": "training", "syntheticContent": "making text like them"}


def refusal(use: str) -> str:
    """Returns the reason for rejecting an account's posts, and what to do if the owner agreed."""
    return (
        f"the account asks that its posts are not used for {use} (community.lexicon.preference.ai); "
        "`consent: own` reads them, if they are yours or their owner agreed"
    )


def refused_use(records: Iterable[Any]) -> str | None:
    """Returns the first use that one of the account's records forbids, in words, or None if none does."""
    for record in records:
        answers = record.get("preferences") if isinstance(record, dict) else None
        for use, words in _USES.items():
            answer = answers.get(use) if isinstance(answers, dict) else None
            if answer is False or (isinstance(answer, dict) and answer.get("allow") is False):
                return words
    return None
