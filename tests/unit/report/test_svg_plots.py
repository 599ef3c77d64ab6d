"""Plots: axes that fit what they show, and marks where they belong."""

import re
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.report.svg_plots import WIDTH, Axis, Mark, bars, histogram, nice_ticks, scatter


@given(st.floats(0, 1e6), st.floats(0, 1e6))
def test_ticks_enclose_the_values_and_stay_above_zero(one, other):
    low, high = sorted((one, other))
    ticks = nice_ticks(low, high)
    assert 0 <= ticks[0] <= low + 1e-6 and ticks[-1] >= high - 1e-6 * max(1, high)
    assert 2 <= len(ticks) <= 8 and ticks == sorted(set(ticks))


def test_ticks_are_round_numbers():
    assert nice_ticks(0, 5) == [0, 1, 2, 3, 4, 5]
    assert nice_ticks(3.1, 4.4) == [3.0, 3.5, 4.0, 4.5]
    assert nice_ticks(-1, 1) == [-1.0, -0.5, 0.0, 0.5, 1.0]
    assert nice_ticks(1, 2, whole=True) == [1, 2]  # no half epochs
    assert nice_ticks(0, 0) == [0, 0.2, 0.4, 0.6, 0.8, 1.0] and nice_ticks(0, 0, whole=True) == [0, 1]


@pytest.mark.parametrize("shares", [[0.0], [0.0, 0.0], [1.0], [1.0, 1.0], [0.02, 0.05], [0.3, 0.97]])
def test_an_axis_of_shares_runs_from_0_to_1_at_most(shares):
    plot = scatter([Mark(i, share, "wren") for i, share in enumerate(shares)], "epochs", "share", y_is_share=True)
    ticks = [float(tick) for tick in re.findall(r'class="tick end"[^>]*>([^<]*)<', plot)]
    assert ticks[0] == 0 and max(shares) <= ticks[-1] <= 1


def test_a_histogram_counts_whole_bots():
    plot = histogram([0.5], "share")
    assert re.findall(r'class="tick end"[^>]*>([^<]*)<', plot) == ["0", "1"]
    assert "50% to 55%: 1" in plot


def test_a_value_twice_as_far_is_drawn_twice_as_far():
    axis = Axis.of([0.0, 10.0], 100, 200)
    assert (axis.at(0), axis.at(5), axis.at(10)) == (100, 150, 200)
    log = Axis.of([1, 100], 0, 200, log=True)
    assert (log.at(1), log.at(10), log.at(100)) == (0, 100, 200)


def test_a_wide_logarithmic_axis_has_ticks_at_powers_of_ten_alone():
    assert Axis.of([30, 700_000], 0, 1, log=True).ticks == [10, 100, 1000, 10_000, 100_000, 1_000_000]
    assert Axis.of([30, 700], 0, 1, log=True).ticks == [20, 50, 100, 200, 500, 1000]


def test_long_names_are_shortened_in_the_drawing_and_whole_in_the_title():
    name = "a" * 200
    drawing = ElementTree.fromstring(bars([(name, 3.0)], "seconds"))
    texts = [text.text or "" for text in drawing.iter("text")]
    assert max(map(len, texts)) <= 18 and f"{name}: 3" in {title.text for title in drawing.iter("title")}
    assert drawing.get("viewBox", "").startswith(f"0 0 {WIDTH} ")


def test_a_name_is_left_out_where_another_one_is():
    near = [Mark(1.0, 1.0, "wren"), Mark(1.0, 1.001, "lark"), Mark(5.0, 5.0, "stork")]
    plot = scatter(near, "x", "y")
    assert re.findall(r'class="mark [a-z]+"[^>]*>([^<]*)<', plot) == ["wren", "stork"]


def test_a_number_below_a_plot_is_left_out_where_it_would_cover_the_one_before():
    plot = scatter([Mark(230_000, 3.8, "wren"), Mark(6_000_000, 2.4, "lark")], "tweets kept", "loss", log_x=True)
    numbers = re.findall(r'<text class="tick(?: end)?" x="[^"]*" y="272"[^>]*>([^<]*)<', plot)
    assert numbers == ["200,000", "500,000", "1,000,000", "5,000,000"]  # of six ticks
