"""The JSON forms of requests and replies: pydantic models and pure functions, without routes or bots.

Every limit of a request is part of its model, so that a request is checked before any work is done for it.
"""

from collections.abc import Callable

# Makes the signature of an answer from the bot's version, the prompt (None: it was not a text), and the answer.
Sign = Callable[[str, str | None, str], str]
