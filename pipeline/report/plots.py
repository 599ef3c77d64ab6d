"""Plots as inline SVG, styled by the page they stand in; a hover tells what a mark is.

    scatter([Mark(2427, 4.31, "nasa")], x="tweets kept", y="loss", log_x=True)

Few kinds, no library: what the fleet report needs, at 4 bots and at 400. Colours are CSS classes (`bot`, `base`,
`real`, `cell`), so that a page can be light or dark.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

WIDTH, HEIGHT = 560, 340  # of a plot's own units; it scales with the page
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 16, 14, 42
_LABELLED, _LINES = 40, 8  # marks, and lines, beyond which names would only cover each other
_ROW = 22


@dataclass(frozen=True)
class Mark:
    x: float
    y: float
    label: str
    kind: str = "bot"  # a CSS class


def scatter(
    marks: Sequence[Mark],
    x: str,
    y: str,
    *,
    log_x: bool = False,
    diagonal: bool = False,
    axes: bool = True,
    joined: bool = False,
) -> Markup:
    """Points with their names where there is room; `diagonal`: with the line of equal values.

    `joined`: those of one label are connected from left to right, and named at the end.
    """
    if not marks:
        return Markup("")
    xs, ys = [mark.x for mark in marks], [mark.y for mark in marks]
    if diagonal:
        xs = ys = [*xs, *ys]
    across = Axis.of(xs, _LEFT, WIDTH - _RIGHT, log_x)
    up = Axis.of(ys, HEIGHT - _BOTTOM, _TOP)
    parts: list[str] = []
    if axes:
        parts += _axes(across, up, x, y)
    if diagonal:
        low, high = across.ticks[0], across.ticks[-1]
        ends = f'x1="{across.at(low):.1f}" y1="{up.at(low):.1f}" x2="{across.at(high):.1f}" y2="{up.at(high):.1f}"'
        parts.append(f'<line class="guide" {ends}/>')
    if joined:
        parts += _joined(marks, across, up)
    for mark in marks:
        about = escape(f"{mark.label}: {x} {_number(mark.x)}, {y} {_number(mark.y)}" if axes else mark.label)
        parts.append(
            f'<circle class="{mark.kind}" cx="{across.at(mark.x):.1f}" cy="{up.at(mark.y):.1f}" r="5">'
            f"<title>{about}</title></circle>"
        )
    named = list({mark.label: mark for mark in sorted(marks, key=lambda mark: mark.x)}.values()) if joined else marks
    if len(named) <= (_LINES if joined else _LABELLED):
        parts += _names(named, across, up)
    return _svg(parts, HEIGHT)


def dumbbells(rows: Sequence[tuple[str, float, float, Sequence[float] | None]], x: str) -> Markup:
    """For each (name, before, after, interval of after) a line from the one to the other."""
    if not rows:
        return Markup("")
    left, height = _margin(row[0] for row in rows), _TOP + _ROW * len(rows) + _BOTTOM
    across = Axis.of([value for row in rows for value in (*row[1:3], *(row[3] or ()))], left, WIDTH - _RIGHT)
    parts = _x_axis(across, height, x)
    for i, (name, before, after, interval) in enumerate(rows):
        y = _TOP + _ROW * (i + 0.5)
        low, high = interval or (after, after)
        parts.append(
            f"<g><title>{escape(name)}: {before:.3f} before, {after:.3f} after ({low:.3f} to {high:.3f})</title>"
            f'<text class="name" x="{left - 8}" y="{y + 4:.1f}">{escape(name)}</text>'
            f'<line class="between" x1="{across.at(before):.1f}" y1="{y}" x2="{across.at(after):.1f}" y2="{y}"/>'
            f'<line class="interval" x1="{across.at(low):.1f}" y1="{y}" x2="{across.at(high):.1f}" y2="{y}"/>'
            f'<circle class="base" cx="{across.at(before):.1f}" cy="{y}" r="5"/>'
            f'<circle class="bot" cx="{across.at(after):.1f}" cy="{y}" r="5"/></g>'
        )
    return _svg(parts, height)


def matrix(rows: Sequence[str], columns: Sequence[str], shares: Sequence[Sequence[float]], what: str) -> Markup:
    """Shares from 0 to 1 as shaded cells; `what` joins a row's and a column's name in the hover."""
    if not rows or not columns:
        return Markup("")
    left = _margin(rows)
    size = min(34.0, (WIDTH - left - _RIGHT) / len(columns))
    angle, top = (50, _margin(columns, 0.75)) if size >= 24 else (90, _margin(columns))
    letters = f'style="font-size:{min(11.0, size):.1f}px"'
    parts: list[str] = []
    for j, column in enumerate(columns):
        x = left + size * (j + 0.5) + 4
        turn = f'transform="rotate(-{angle} {x:.1f} {top - 6:.1f})"'
        parts.append(f'<text class="tilted" {letters} x="{x:.1f}" y="{top - 6:.1f}" {turn}>{escape(column)}</text>')
    for i, row in enumerate(rows):
        y = top + size * i
        parts.append(f'<text class="name" {letters} x="{left - 8}" y="{y + size / 2 + 4:.1f}">{escape(row)}</text>')
        for j, share in enumerate(shares[i]):
            x = left + size * j
            parts.append(
                f'<rect class="cell" x="{x:.1f}" y="{y:.1f}" width="{size - 1:.1f}" height="{size - 1:.1f}" '
                f'style="--share:{share:.3f}">'
                f"<title>{escape(row)} {what} {escape(columns[j])}: {share:.0%}</title></rect>"
            )
            if size >= 24 and share >= 0.005:
                kind, at = "on" if share > 0.5 else "off", f'x="{x + size / 2 - 0.5:.1f}" y="{y + size / 2 + 4:.1f}"'
                parts.append(f'<text class="value {kind}" {at}>{100 * share:.0f}</text>')
    return _svg(parts, top + size * len(rows) + 4)


def bars(rows: Sequence[tuple[str, float]], x: str) -> Markup:
    """Horizontal bars from zero."""
    if not rows:
        return Markup("")
    left, height = _margin(row[0] for row in rows), _TOP + _ROW * len(rows) + _BOTTOM
    across = Axis.of([0.0, *(value for _, value in rows)], left, WIDTH - _RIGHT - 40)
    parts = _x_axis(across, height, x)
    for i, (name, value) in enumerate(rows):
        y, start, end = _TOP + _ROW * i, across.at(0), across.at(value)
        parts.append(
            f'<text class="name" x="{left - 8}" y="{y + 15}">{escape(name)}</text>'
            f'<rect class="bot" x="{start:.1f}" y="{y + 3}" width="{end - start:.1f}" height="{_ROW - 6}" rx="3"/>'
            f'<text class="after" x="{end + 6:.1f}" y="{y + 15}">{_number(value)}</text>'
        )
    return _svg(parts, height)


def histogram(values: Sequence[float], x: str, bins: int = 20) -> Markup:
    """How many of the shares, from 0 to 1, lie where."""
    if not values:
        return Markup("")
    counts = [0] * bins
    for value in values:
        counts[min(bins - 1, int(value * bins))] += 1
    across = Axis.of([0.0, 1.0], _LEFT, WIDTH - _RIGHT)
    up = Axis.of([0.0, float(max(counts))], HEIGHT - _BOTTOM, _TOP)
    parts = _axes(across, up, x, "bots")
    for i, count in enumerate(counts):
        left, right, top = across.at(i / bins), across.at((i + 1) / bins), up.at(count)
        parts.append(
            f'<rect class="bot" x="{left + 1:.1f}" y="{top:.1f}" width="{right - left - 2:.1f}" '
            f'height="{up.at(0) - top:.1f}"><title>{i / bins:.0%} to {(i + 1) / bins:.0%}: {count}</title></rect>'
        )
    return _svg(parts, HEIGHT)


@dataclass(frozen=True)
class Axis:
    """From values to positions between `start` and `end`; the ticks reach around all values."""

    ticks: list[float]
    start: float
    end: float
    log: bool = False

    @classmethod
    def of(cls, values: Sequence[float], start: float, end: float, log: bool = False) -> "Axis":
        ticks = _log_ticks(min(values), max(values)) if log else nice_ticks(min(values), max(values))
        return cls(ticks, start, end, log)

    def at(self, value: float) -> float:
        low, high = self.ticks[0], self.ticks[-1]
        if self.log:
            low, high, value = math.log10(low), math.log10(high), math.log10(max(value, low))
        return self.start + (value - low) / (high - low) * (self.end - self.start)


def _log_ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 times powers of ten, from the last one not above `low` to the first one not below `high`."""
    low, high = max(low, 1e-9), max(high, 1e-9)
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps = [m * 10.0**power for power in powers for m in (1, 2, 5)]
    first = max(i for i, step in enumerate(steps) if step <= low * (1 + 1e-9))
    last = min(i for i, step in enumerate(steps) if step >= high * (1 - 1e-9))
    return steps[first : max(last, first + 1) + 1]


def nice_ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers at even steps from below `low` to above `high`."""
    if high - low < 1e-9:
        low, high = low - 0.5, high + 0.5
    raw = (high - low) / about
    power = 10 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= raw)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(i * step, 10) for i in range(first, last + 1)]


def _axes(across: Axis, up: Axis, x: str, y: str) -> list[str]:
    parts = _x_axis(across, HEIGHT, x)
    for tick in up.ticks:
        at = up.at(tick)
        parts.append(
            f'<line class="grid" x1="{_LEFT}" y1="{at:.1f}" x2="{WIDTH - _RIGHT}" y2="{at:.1f}"/>'
            f'<text class="tick end" x="{_LEFT - 8}" y="{at + 4:.1f}">{_number(tick)}</text>'
        )
    middle = (_TOP + HEIGHT - _BOTTOM) / 2
    parts.append(f'<text class="axis" x="14" y="{middle}" transform="rotate(-90 14 {middle})">{escape(y)}</text>')
    return parts


def _x_axis(across: Axis, height: float, x: str) -> list[str]:
    parts = []
    for tick in across.ticks:
        at = across.at(tick)
        parts.append(
            f'<line class="grid" x1="{at:.1f}" y1="{_TOP}" x2="{at:.1f}" y2="{height - _BOTTOM}"/>'
            f'<text class="tick" x="{at:.1f}" y="{height - _BOTTOM + 16}">{_number(tick)}</text>'
        )
    middle = (across.start + across.end) / 2
    parts.append(f'<text class="axis" x="{middle:.1f}" y="{height - 6}">{escape(x)}</text>')
    return parts


def _joined(marks: Sequence[Mark], across: Axis, up: Axis) -> list[str]:
    series: dict[str, list[Mark]] = {}
    for mark in sorted(marks, key=lambda mark: mark.x):
        series.setdefault(mark.label, []).append(mark)
    lines = (
        " ".join(f"{across.at(one.x):.1f},{up.at(one.y):.1f}" for one in run) for run in series.values() if len(run) > 1
    )
    return [f'<polyline class="between" points="{points}"/>' for points in lines]


def _names(marks: Sequence[Mark], across: Axis, up: Axis) -> list[str]:
    """Each mark's name beside it, on the side where there is room; left out where another name stands."""
    taken: list[tuple[float, float, float]] = []
    parts = []
    for mark in sorted(marks, key=lambda mark: mark.y):
        at, y, width = across.at(mark.x), up.at(mark.y), 6.2 * len(mark.label)
        right = at + 9 + width < WIDTH
        start = at + 9 if right else at - 9 - width
        if any(abs(y - other) < 11 and start < end and begin < start + width for other, begin, end in taken):
            continue
        taken.append((y, start, start + width))
        side = "start" if right else "end"
        x = at + 9 if right else at - 9
        parts.append(f'<text class="mark {side}" x="{x:.1f}" y="{y + 4:.1f}">{escape(mark.label)}</text>')
    return parts


def _margin(names: Iterable[str], slope: float = 1.0) -> float:
    """Room for the longest of the names, 6.6 units a character."""
    return 18 + slope * 6.6 * min(24, max(map(len, names), default=0))


def _number(value: float) -> str:
    if value and abs(value) < 0.01:
        return f"{value:.1e}"
    return f"{value:,.2f}".rstrip("0").rstrip(".") if abs(value) < 100 else f"{value:,.0f}"


def _svg(parts: Iterable[str], height: float) -> Markup:
    return Markup(f'<svg viewBox="0 0 {WIDTH} {height:.0f}" role="img">{"".join(parts)}</svg>')
