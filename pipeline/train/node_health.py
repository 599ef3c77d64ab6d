"""Decides which nodes get no more lanes, because lanes fail there again and again, and when to give bots up instead.

    health = NodeHealth()
    health.run_failed(kind, "node-7", "RuntimeError: no CUDA", set_up=False, productive=False)
    health.left_out(kind)                                       # {"node-7": reason}, after two such failures
    health.fault_of(kind, usable={"node-7", "node-8"})          # the reason to give the kind's bots up, or ""

Lanes of one kind share their settings (queue.py). A setting or a base model that cannot work fails on every node; a
broken driver, a full disk or a wrong library fails on one.
"""

from collections import defaultdict
from collections.abc import Collection

SEVERAL_NODES = ""  # in place of a node: a run whose workers may be on several
_SET_UP_FAILURES = 2  # in a row on a node, after which it is left out
_EARLY_ENDS = 10  # in a row on a node, of runs that were set up and ended with an error before they finished a bot
_NODES_THAT_AGREE = 3  # where no lane of a kind can be set up on so many nodes, the kind is at fault


class NodeHealth:
    """Counts how runs end on each node, for each kind of lanes."""

    def __init__(self) -> None:
        self._failures: dict[tuple[str, str], int] = defaultdict(int)  # in a row, by kind and node
        self._left_out: dict[str, dict[str, str]] = defaultdict(dict)  # reasons, by kind and node
        self._set_up: set[str] = set()  # kinds of which a lane was set up somewhere

    def run_ended_well(self, kind: str, node: str) -> None:
        """Records a run that ended because there was no more work, or after it had finished a bot."""
        self._set_up.add(kind)
        self._failures.pop((kind, node), None)

    def run_failed(self, kind: str, node: str, reason: str, set_up: bool, productive: bool) -> bool:
        """Records a run that ended with an error; returns whether its node is left out from now on.

        `set_up`: a lane of it was ready to train. `productive`: it had finished a bot.
        """
        if set_up:
            self._set_up.add(kind)
        if productive:
            self.run_ended_well(kind, node)
            return False
        self._failures[kind, node] += 1
        limit = _EARLY_ENDS if set_up or node == SEVERAL_NODES else _SET_UP_FAILURES
        if self._failures[kind, node] < limit:
            return False
        is_new = node not in self._left_out[kind]
        self._left_out[kind][node] = reason
        return is_new

    def left_out(self, kind: str) -> dict[str, str]:
        """The nodes on which no lanes of this kind are started any more, with the last reason."""
        return self._left_out[kind]

    def fault_of(self, kind: str, usable: Collection[str]) -> str:
        """Why no lane of this kind can work anywhere; "" if one may. `usable` are the nodes large enough for one."""
        left_out = self._left_out[kind]
        agreeing = len(left_out) >= _NODES_THAT_AGREE and kind not in self._set_up
        all_left_out = bool(usable) and not set(usable) - set(left_out)
        return next(iter(left_out.values())) if agreeing or all_left_out else ""
