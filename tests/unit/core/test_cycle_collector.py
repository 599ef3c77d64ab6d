"""The collector of cycles is as it was after a pause, also where blocks are nested or fail."""

import gc

import pytest

from pipeline.core.cycle_collector import paused


def test_a_pause_ends_with_the_outermost_block():
    with pytest.raises(ValueError), paused():
        with paused():
            assert not gc.isenabled()
        assert not gc.isenabled()
        raise ValueError
    assert gc.isenabled()
