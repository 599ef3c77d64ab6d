"""A bot's answer in a link: in one part, or in several where somebody let the bot continue what it had written.

    text = SharedText("nasa", "My dream is", (" to fly.", " Then I land."), (signature, second_signature))
    text.is_signed(bots), text.answer        # True, " to fly. Then I land."

Each part is signed as an answer to all that stands before it, so nobody can add a word between two parts.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self
from urllib.parse import urlencode

from starlette.datastructures import QueryParams

from pipeline.core import picture
from pipeline.core.signing import signed_text
from serve.engine.parameters import MAX_NEW_TOKENS
from serve.http.bots import Bots
from serve.http.forms.text_generation import MAX_PROMPT_CHARS
from serve.http.public_facts import without_lead_in
from serve.http.web import old_links

MAX_SAID_CHARS = 8 * MAX_NEW_TOKENS  # of a part
MAX_PARTS = 8


@dataclass(frozen=True)
class Part:
    """What a bot wrote in answer to one request."""

    prompt: str
    said: str
    signature: str


@dataclass(frozen=True)
class SharedText:
    """A prompt, and what the bot wrote after it; not checked until `is_signed` is called."""

    bot: str
    prompt: str
    said: tuple[str, ...]  # the parts
    signatures: tuple[str, ...]  # one for each

    @classmethod
    def in_query(cls, bot: str, query: QueryParams) -> Self:
        """The text in the query of a link, which has `said` and `signature` once for each part."""
        return cls(bot, query.get("prompt", ""), tuple(query.getlist("said")), tuple(query.getlist("signature")))

    @property
    def answer(self) -> str:
        """All that the bot wrote."""
        return "".join(self.said)

    @property
    def shown(self) -> str:
        """What people are shown of the answer."""
        return "".join(map(without_lead_in, self.said))

    @property
    def opening(self) -> str:
        """The prompt as a quotation: it is a visitor's text, not the bot's."""
        return picture.quoted_prompt(self.prompt)

    @property
    def can_be_drawn(self) -> bool:
        """Whether at least half of the text is the bot's: a picture must not show a visitor's words as a bot's.

        The answer counts as it is signed: a signature stays valid where white space is added between the words.
        """
        written = signed_text(self.answer).strip()
        return bool(written) and len(written) >= len(self.prompt.strip())

    @property
    def query(self) -> str:
        """The query of its link."""
        pairs = [("prompt", self.prompt)]
        for said, signature in zip(self.said, self.signatures, strict=True):
            pairs += [("said", said), ("signature", signature)]
        return urlencode(pairs)

    def parts(self) -> Iterator[Part]:
        """The parts, each with all that stands before it as its prompt."""
        before = self.prompt
        for said, signature in zip(self.said, self.signatures, strict=True):
            yield Part(before, said, signature)
            before += said

    def is_signed(self, bots: Bots) -> bool:
        """Whether the bot wrote each part after all that stands before it."""
        if len(self.said) != len(self.signatures) or not 1 <= len(self.said) <= MAX_PARTS:
            return False
        return all(_is_signed(bots, self.bot, part) for part in self.parts())


def _is_signed(bots: Bots, bot: str, part: Part) -> bool:
    if len(part.prompt) > MAX_PROMPT_CHARS or len(part.said) > MAX_SAID_CHARS:
        return False
    if bots.keyring(bot).check(bot, part.said, part.signature, part.prompt):
        return True
    return old_links.is_signed(bots.old_link_key(bot), bot, part.prompt, part.said, part.signature)
