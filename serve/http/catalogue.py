"""The bots of a gateway in one order, and a search for them by their names.

catalogue = Catalogue({"nasa": entry}, "name")
[catalogue.names[place] for place in catalogue.search("nas")]       # ["nasa"]
"""

import bisect
import itertools
from collections.abc import Iterator, Mapping
from functools import cached_property

from serve.http.public_facts import BotFacts, Order, ordered

_BETWEEN = "\x1f"  # the names of one bot; white space, of which a text that is searched for has only single blanks


class Catalogue:
    """A snapshot: `bots` is not changed afterwards."""

    def __init__(self, bots: Mapping[str, BotFacts], order: Order):
        self.names = ordered(bots, order)
        self._bots = bots

    def search(self, text: str, start: int = 0) -> Iterator[int]:
        """Yields the places in `names`, from `start` on, of the bots whose name or display name contains the text."""
        wanted = " ".join(text.split()).casefold()
        if not wanted:
            yield from range(start, len(self.names))
            return
        lines, starts = self._lines
        at = starts[min(start, len(self.names))]
        while (at := lines.find(wanted, at)) >= 0:
            place = bisect.bisect_right(starts, at) - 1
            yield place
            at = starts[place + 1]

    @cached_property
    def _lines(self) -> tuple[str, list[int]]:
        """A line with the names of each bot, case folded, all in one text; and where each begins, and the end.

        To look through this one text takes a hundredth of the time of looking at 100,000 bots one by one.
        """
        lines = [_BETWEEN.join((name, *self._bots[name]["names"].values())).casefold() + "\n" for name in self.names]
        return "".join(lines), list(itertools.accumulate(map(len, lines), initial=0))
