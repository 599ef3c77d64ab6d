"""Traffic and moves, with a clock of the test's own."""

from pipeline.core.settings import Serve
from serve.deployments.placement import Mover
from serve.deployments.pool import SPREAD, session
from serve.deployments.traffic import Traffic


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


SETTINGS = Serve(endpoint="auto", busy_requests=2, busy_seconds=10, idle_seconds=60)


def test_traffic_is_the_mean_number_of_requests_under_way():
    clock = Clock()
    traffic = Traffic(clock)
    traffic.begin("ada")
    traffic.begin("ada")
    clock.now += 1
    traffic.end("ada")
    clock.now += 1
    assert traffic.ongoing("ada") == 1 and traffic.report() == {"ada": 1.5}
    clock.now += 4
    traffic.end("ada")
    clock.now += 4
    assert traffic.report() == {"ada": 0.5} and traffic.report() == {}
    assert traffic.ongoing("ada") == 0


def hear(mover: Mover, clock: Clock, seconds: int, load: float, dedicated: set[str] = frozenset()) -> list[list[str]]:
    """What is moved out and back while a load lasts, told every second."""
    out, back = [], []
    for _ in range(seconds):
        clock.now += 1
        mover.report("one", {"ada": load / 2})
        mover.report("two", {"ada": load / 2})
        moves = mover.moves({"ada": SETTINGS}, set(dedicated))
        out += moves.out
        back += moves.back
    return [out, back]


def test_a_bot_moves_out_once_it_was_busy_for_a_while_over_all_gateways():
    clock = Clock()
    mover = Mover(clock)
    assert hear(mover, clock, 9, 3.0) == [[], []]
    assert hear(mover, clock, 2, 1.0) == [[], []]  # a pause: the time begins anew
    assert hear(mover, clock, 10, 3.0) == [[], []]
    assert hear(mover, clock, 1, 3.0)[0] == ["ada"]


def test_it_moves_back_once_it_was_quiet_for_a_while():
    clock = Clock()
    mover = Mover(clock)
    assert hear(mover, clock, 200, 1.5, {"ada"}) == [[], []]  # less busy, but not quiet
    assert hear(mover, clock, 60, 0.5, {"ada"}) == [[], []]
    assert hear(mover, clock, 1, 0.5, {"ada"})[1] == ["ada"]


def test_a_dead_gateway_is_ignored():
    clock = Clock()
    mover = Mover(clock)
    mover.report("one", {"ada": 5.0})
    assert mover.load("ada") == 5.0 and mover.reported() == {"ada"}
    clock.now += 60
    assert mover.load("ada") == 0.0


def test_a_hot_bot_is_spread_over_several_workers():
    assert session("ada", 0) == session("ada", SPREAD - 1) == "ada"
    assert len({session("ada", ongoing) for ongoing in range(4 * SPREAD)}) == 4
