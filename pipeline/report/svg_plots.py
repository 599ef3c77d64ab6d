"""Plots as inline SVG, styled by report.css; a mark's title shows what it is.

    scatter([Mark(2427, 4.31, "nasa")], x="tweets kept", y="loss", log_x=True)

Four kinds, without a library: what the reports need, for 4 bots and for 400. Colours are CSS classes (`bot`, `base`,
`real`, `cell`), so a page can be light or dark. Lengths are in units of the drawing, which scales with the page.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from markupsafe import Markup, escape

WIDTH, HEIGHT = 440, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 28, 14, 44  # margins around the axes
_SMALLEST, _LARGEST = 0.8, 1.3  # CSS pixels for a unit: below it a drawing scrolls, so that its text stays readable
_CHARACTER = 6.8  # width of a letter, on average
_LONGEST_NAME = 18  # characters; the mark's title has the whole name
_NAMED_MARKS, _NAMED_LINES = 40, 8  # above these numbers names would cover each other
_ROW = 22  # height of a row of bars or dumbbells
_CELL = (13.0, 34.0)  # smallest and largest cell of a matrix
_MOST_LOG_TICKS = 7


@dataclass(frozen=True)
class Plot:
    """A plot with its texts. `svg` is empty if there is nothing to show."""

    title: str
    text: str  # what it shows and how to read it
    svg: Markup


@dataclass(frozen=True)
class Mark:
    """A point of a scatter plot."""

    x: float
    y: float
    label: str
    kind: str = "bot"  # a CSS class


class Dumbbell(NamedTuple):
    """A value before and after, with the interval of the one after."""

    name: str
    before: float
    after: float
    interval: Sequence[float] | None


def scatter(
    marks: Sequence[Mark],
    x: str,
    y: str,
    *,
    log_x: bool = False,
    y_is_share: bool = False,
    diagonal: bool = False,
    axes: bool = True,
    joined: bool = False,
) -> Markup:
    """Points with their names where there is room; `x` and `y` are the axes' titles.

    `y_is_share`: the axis of y begins at 0 and ends at 1 at most. `diagonal` adds the line of equal values. `joined`
    connects the points of one label from left to right, and names the line at its end.
    """
    if not marks:
        return Markup("")
    xs, ys = [mark.x for mark in marks], [mark.y for mark in marks]
    if diagonal:
        xs = ys = [*xs, *ys]
    across = Axis.of(xs, _LEFT, WIDTH - _RIGHT, log_x)
    up = Axis.of([0.0, *ys] if y_is_share else ys, HEIGHT - _BOTTOM, _TOP)
    parts: list[str] = []
    if axes:
        parts += _axes(across, up, x, y)
    if diagonal:
        low, high = across.ticks[0], across.ticks[-1]
        ends = f'x1="{across.at(low):.1f}" y1="{up.at(low):.1f}" x2="{across.at(high):.1f}" y2="{up.at(high):.1f}"'
        parts.append(f'<line class="guide" {ends}/>')
    if joined:
        parts += _lines(marks, across, up)
    for mark in marks:
        title = escape(f"{mark.label}: {x} {_number(mark.x)}, {y} {_number(mark.y)}" if axes else mark.label)
        parts.append(
            f'<circle class="{mark.kind}" cx="{across.at(mark.x):.1f}" cy="{up.at(mark.y):.1f}" r="5">'
            f"<title>{title}</title></circle>"
        )
    named = list({mark.label: mark for mark in sorted(marks, key=lambda mark: mark.x)}.values()) if joined else marks
    if len(named) <= (_NAMED_LINES if joined else _NAMED_MARKS):
        parts += _names(named, across, up)
    return _svg(parts, WIDTH, HEIGHT)


def dumbbells(rows: Sequence[Dumbbell], x: str) -> Markup:
    """For each row a line from the value before to the one after."""
    if not rows:
        return Markup("")
    left, height = _margin(row.name for row in rows), _TOP + _ROW * len(rows) + _BOTTOM
    values = [value for row in rows for value in (row.before, row.after, *(row.interval or ()))]
    across = Axis.of(values, left, WIDTH - _RIGHT)
    parts = _x_axis(across, height, x)
    for i, (name, before, after, interval) in enumerate(rows):
        y = _TOP + _ROW * (i + 0.5)
        low, high = interval or (after, after)
        parts.append(
            f"<g><title>{escape(name)}: {before:.3f} before, {after:.3f} after ({low:.3f} to {high:.3f})</title>"
            f'<text class="name" x="{left - 8}" y="{y + 4:.1f}">{escape(_short(name))}</text>'
            f'<line class="between" x1="{across.at(before):.1f}" y1="{y}" x2="{across.at(after):.1f}" y2="{y}"/>'
            f'<line class="interval" x1="{across.at(low):.1f}" y1="{y}" x2="{across.at(high):.1f}" y2="{y}"/>'
            f'<circle class="base" cx="{across.at(before):.1f}" cy="{y}" r="5"/>'
            f'<circle class="bot" cx="{across.at(after):.1f}" cy="{y}" r="5"/></g>'
        )
    return _svg(parts, WIDTH, height)


def matrix(rows: Sequence[str], columns: Sequence[str], shares: Sequence[Sequence[float]], verb: str) -> Markup:
    """Shares from 0 to 1 as shaded cells; `verb` joins a row's and a column's name in the cell's title."""
    if not rows or not columns:
        return Markup("")
    left = _margin(rows)
    size = min(_CELL[1], max(_CELL[0], (WIDTH - left - _RIGHT) / len(columns)))
    angle, top = (50, _margin(columns, 0.9)) if size >= 24 else (90, _margin(columns))
    # a tilted name reaches to the right of its column
    width = max(float(WIDTH), left + size * len(columns) + (_margin(columns, 0.65) if angle == 50 else _RIGHT))
    parts: list[str] = []
    for j, column in enumerate(columns):
        x = left + size * (j + 0.5) + 4
        turn = f'transform="rotate(-{angle} {x:.1f} {top - 6:.1f})"'
        parts.append(f'<text class="tilted" x="{x:.1f}" y="{top - 6:.1f}" {turn}>{escape(_short(column))}</text>')
    for i, row in enumerate(rows):
        y = top + size * i
        parts.append(f'<text class="name" x="{left - 8}" y="{y + size / 2 + 4:.1f}">{escape(_short(row))}</text>')
        for j, share in enumerate(shares[i]):
            x = left + size * j
            parts.append(
                f'<rect class="cell" x="{x:.1f}" y="{y:.1f}" width="{size - 1:.1f}" height="{size - 1:.1f}" '
                f'style="--share:{share:.3f}">'
                f"<title>{escape(row)} {verb} {escape(columns[j])}: {share:.0%}</title></rect>"
            )
            if size >= 24 and share >= 0.005:
                kind, at = "on" if share > 0.5 else "off", f'x="{x + size / 2 - 0.5:.1f}" y="{y + size / 2 + 4:.1f}"'
                parts.append(f'<text class="value {kind}" {at}>{100 * share:.0f}</text>')
    return _svg(parts, width, top + size * len(rows) + 4)


def bars(rows: Sequence[tuple[str, float]], x: str) -> Markup:
    """Horizontal bars from zero, for (name, value)."""
    if not rows:
        return Markup("")
    left, height = _margin(row[0] for row in rows), _TOP + _ROW * len(rows) + _BOTTOM
    across = Axis.of([0.0, *(value for _, value in rows)], left, WIDTH - _RIGHT - 40)
    parts = _x_axis(across, height, x)
    for i, (name, value) in enumerate(rows):
        y, start, end = _TOP + _ROW * i, across.at(0), across.at(value)
        parts.append(
            f"<g><title>{escape(name)}: {_number(value)}</title>"
            f'<text class="name" x="{left - 8}" y="{y + 15}">{escape(_short(name))}</text>'
            f'<rect class="bot" x="{start:.1f}" y="{y + 3}" width="{end - start:.1f}" height="{_ROW - 6}" rx="3"/>'
            f'<text class="after" x="{end + 6:.1f}" y="{y + 15}">{_number(value)}</text></g>'
        )
    return _svg(parts, WIDTH, height)


def histogram(shares: Sequence[float], x: str, bins: int = 20) -> Markup:
    """How many of the shares, from 0 to 1, lie in each of the bins."""
    if not shares:
        return Markup("")
    counts = [0] * bins
    for share in shares:
        counts[min(bins - 1, int(share * bins))] += 1
    across = Axis([0.0, 0.2, 0.4, 0.6, 0.8, 1.0], _LEFT, WIDTH - _RIGHT)
    up = Axis.of([0.0, float(max(counts))], HEIGHT - _BOTTOM, _TOP)
    parts = _axes(across, up, x, "bots")
    for i, count in enumerate(counts):
        left, right, top = across.at(i / bins), across.at((i + 1) / bins), up.at(count)
        parts.append(
            f'<rect class="bot" x="{left + 1:.1f}" y="{top:.1f}" width="{right - left - 2:.1f}" '
            f'height="{up.at(0) - top:.1f}"><title>{i / bins:.0%} to {(i + 1) / bins:.0%}: {count}</title></rect>'
        )
    return _svg(parts, WIDTH, HEIGHT)


@dataclass(frozen=True)
class Axis:
    """Maps values to positions from `start` to `end`; the first and the last tick are at these ends."""

    ticks: list[float]
    start: float
    end: float
    log: bool = False

    @classmethod
    def of(cls, values: Sequence[float], start: float, end: float, log: bool = False) -> "Axis":
        """An axis whose ticks enclose all values."""
        low, high = min(values), max(values)
        if log:
            return cls(_log_ticks(low, high), start, end, log)
        return cls(nice_ticks(low, high, whole=all(float(value).is_integer() for value in values)), start, end)

    def at(self, value: float) -> float:
        """The position of a value."""
        low, high = self.ticks[0], self.ticks[-1]
        if self.log:
            low, high, value = math.log10(low), math.log10(high), math.log10(max(value, low))
        return self.start + (value - low) / (high - low) * (self.end - self.start)


def _log_ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 times powers of ten (or the powers alone, where these are many), enclosing low and high."""
    low, high = max(low, 1e-9), max(high, 1e-9)
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1, 2, 5), (1,)):
        steps = [factor * 10.0**power for power in powers for factor in factors]
        first = max(i for i, step in enumerate(steps) if step <= low * (1 + 1e-9))
        last = min(i for i, step in enumerate(steps) if step >= high * (1 - 1e-9))
        if last - first < _MOST_LOG_TICKS:
            break
    return steps[first : max(last, first + 1) + 1]


def nice_ticks(low: float, high: float, about: int = 5, whole: bool = False) -> list[float]:
    """Round numbers at even steps that enclose low and high, `about` so many; never below zero unless `low` is.

    `whole`: the values are whole numbers, and so are the ticks.
    """
    if high - low < 1e-6 * max(1.0, abs(high)):
        around = 0.1 * abs(low) if abs(low) > 1e-6 else 0.0
        low, high = (low - around, high + around) if around else (0.0, 1.0)
    raw = (high - low) / about
    power = 10 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * (1 - 1e-9))
    step = max(1.0, step) if whole else step
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(i * step, 10) for i in range(first, max(last, first + 1) + 1)]


def _axes(across: Axis, up: Axis, x: str, y: str) -> list[str]:
    parts = _x_axis(across, HEIGHT, x)
    for tick in up.ticks:
        at = up.at(tick)
        parts.append(
            f'<line class="grid" x1="{_LEFT}" y1="{at:.1f}" x2="{WIDTH - _RIGHT}" y2="{at:.1f}"/>'
            f'<text class="tick end" x="{_LEFT - 8}" y="{at + 4:.1f}">{_number(tick)}</text>'
        )
    middle = (_TOP + HEIGHT - _BOTTOM) / 2
    parts.append(f'<text class="axis" x="12" y="{middle}" transform="rotate(-90 12 {middle})">{escape(y)}</text>')
    return parts


def _x_axis(across: Axis, height: float, x: str) -> list[str]:
    """Lines and numbers below a plot; a number that would cover the one before it is left out."""
    parts = []
    covered = -math.inf  # where the last number and a space after it end
    for tick in across.ticks:
        at, label = across.at(tick), _number(tick)
        parts.append(f'<line class="grid" x1="{at:.1f}" y1="{_TOP}" x2="{at:.1f}" y2="{height - _BOTTOM}"/>')
        width = _CHARACTER * len(label)
        # a long number at the right edge ends there, where it would otherwise be cut off
        sticks_out = at + width / 2 > WIDTH
        anchor, place = ("tick end", float(WIDTH)) if sticks_out else ("tick", at)
        start = place - width if sticks_out else place - width / 2
        if start < covered:
            continue
        covered = start + width + _CHARACTER
        parts.append(f'<text class="{anchor}" x="{place:.1f}" y="{height - _BOTTOM + 16}">{label}</text>')
    middle = (across.start + across.end) / 2
    parts.append(f'<text class="axis" x="{middle:.1f}" y="{height - 6}">{escape(x)}</text>')
    return parts


def _lines(marks: Sequence[Mark], across: Axis, up: Axis) -> list[str]:
    """A line through the marks of each label, from left to right."""
    lines: dict[str, list[Mark]] = {}
    for mark in sorted(marks, key=lambda mark: mark.x):
        lines.setdefault(mark.label, []).append(mark)
    paths = (
        " ".join(f"{across.at(mark.x):.1f},{up.at(mark.y):.1f}" for mark in line)
        for line in lines.values()
        if len(line) > 1
    )
    return [f'<polyline class="between" points="{path}"/>' for path in paths]


def _names(marks: Sequence[Mark], across: Axis, up: Axis) -> list[str]:
    """Each mark's name beside it, on the side where there is room; left out where another name is."""
    taken: list[tuple[float, float, float]] = []
    parts = []
    for mark in sorted(marks, key=lambda mark: mark.y):
        name = _short(mark.label)
        at, y, width = across.at(mark.x), up.at(mark.y), _CHARACTER * len(name)
        right = at + 9 + width < WIDTH
        start = at + 9 if right else at - 9 - width
        if any(abs(y - other) < 12 and start < end and begin < start + width for other, begin, end in taken):
            continue
        taken.append((y, start, start + width))
        side = "start" if right else "end"
        x = at + 9 if right else at - 9
        parts.append(f'<text class="mark {side}" x="{x:.1f}" y="{y + 4:.1f}">{escape(name)}</text>')
    return parts


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 1] + "…"


def _margin(names: Iterable[str], slope: float = 1.0) -> float:
    """Room for the longest of the names, at this slope."""
    return 18 + slope * _CHARACTER * max((len(_short(name)) for name in names), default=0)


def _number(value: float) -> str:
    if value and abs(value) < 0.01:
        return f"{value:.1e}"
    return f"{value:,.2f}".rstrip("0").rstrip(".") if abs(value) < 100 else f"{value:,.0f}"


def _svg(parts: Iterable[str], width: float, height: float) -> Markup:
    limits = f"min-width:{_SMALLEST * width:.0f}px;max-width:{_LARGEST * width:.0f}px"
    return Markup(f'<svg viewBox="0 0 {width:.0f} {height:.0f}" style="{limits}" role="img">{"".join(parts)}</svg>')
