"""Pictures of figures as SVG, of a few lines each: bars, and lines on axes whose steps are factors of ten."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Final

__all__ = ["bars", "lines"]

COLOURS: Final = (
    *("#4051b5", "#e8833a", "#3a9a5b", "#b5404f", "#7a5ab5"),
    *("#8a6d3b", "#2f8fa8", "#7f8790", "#c9a227", "#d16ba5"),
)
_STYLE: Final = """<style>
text { font-family: ui-sans-serif, system-ui, sans-serif; fill: #1f2933; }
.page { fill: #ffffff; } .grid { stroke: #d5dbe1; }
@media (prefers-color-scheme: dark) { text { fill: #e4e7eb; } .page { fill: #14181d; } .grid { stroke: #3a434d; } }
</style>"""


def bars(rows: Mapping[str, Mapping[str, float]], unit: str) -> str:
    """A group of horizontal bars for each row, one for each of its parts, on one axis of factors of ten."""
    parts = list(dict.fromkeys(part for row in rows.values() for part in row))
    scale = _Scale([value for row in rows.values() for value in row.values()], 190, 720)
    height = 60 + len(rows) * (len(parts) * 14 + 12)
    drawn = [*_legend(parts, 190, per_row=4), *scale.grid_upright(36, height - 24, unit)]
    top = 44
    for title, row in rows.items():
        drawn.append(_text(title, 180, top + len(parts) * 7 + 4, "end", 13))
        for number, part in enumerate(parts):
            if part in row:
                end, y = scale(row[part]), top + number * 14
                drawn.append(f'<rect x="190" y="{y}" width="{end - 190:.1f}" height="11" fill="{COLOURS[number]}"/>')
                drawn.append(_text(_short(row[part]), end + 4, y + 10, "start", 11))
        top += len(parts) * 14 + 12
    return _svg(780, height, drawn)


def lines(panels: Mapping[str, Mapping[str, Sequence[tuple[float, float]]]]) -> str:
    """A panel for each quantity, in which each series is a line; both axes in factors of ten."""
    series = list(dict.fromkeys(name for panel in panels.values() for name in panel))
    drawn = _legend(series, 60, per_row=4)
    top = 30 + 18 * math.ceil(len(series) / 4)
    for number, (quantity, panel) in enumerate(panels.items()):
        left, bottom = 60 + number % 2 * 370, top + 240 + number // 2 * 290
        across = _Scale([x for line in panel.values() for x, _ in line], left, left + 290)
        up = _Scale([y for line in panel.values() for _, y in line], bottom, bottom - 210)
        drawn += [_text(quantity, left, bottom - 218, "start", 13), *up.grid_level(left, left + 290)]
        drawn += across.grid_upright(bottom - 210, bottom)
        for name, line in panel.items():
            points = [(across(x), up(y)) for x, y in line]
            colour = COLOURS[series.index(name) % len(COLOURS)]
            path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
            drawn.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
            drawn += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in points]
    return _svg(780, top + 290 * math.ceil(len(panels) / 2), drawn)


class _Scale:
    """From a value to a place, by the value's logarithm."""

    def __init__(self, values: Sequence[float], begin: float, end: float) -> None:
        positive = [value for value in values if value > 0]
        self._low = math.floor(math.log10(min(positive)) + 1e-9)
        self._high = max(math.ceil(math.log10(max(positive)) - 1e-9), self._low + 1)
        self._begin, self._end = begin, end

    def __call__(self, value: float) -> float:
        share = (math.log10(max(value, 10**self._low)) - self._low) / (self._high - self._low)
        return self._begin + share * (self._end - self._begin)

    def _steps(self) -> list[float]:
        return [10.0**power for power in range(self._low, self._high + 1)]

    def grid_upright(self, top: float, bottom: float, unit: str = "") -> list[str]:
        """A line at each step, with its value below."""
        lines = [_line(self(step), top, self(step), bottom) for step in self._steps()]
        texts = [_text(_short(step), self(step), bottom + 15, "middle", 11) for step in self._steps()]
        return [*lines, *texts, _text(unit, self._end + 12, top - 6, "end", 11)]

    def grid_level(self, left: float, right: float) -> list[str]:
        """The same for an axis that goes up."""
        lines = [_line(left, self(step), right, self(step)) for step in self._steps()]
        return [*lines, *(_text(_short(step), left - 6, self(step) + 4, "end", 11) for step in self._steps())]


def _legend(names: Sequence[str], left: int, per_row: int) -> list[str]:
    drawn = []
    for number, name in enumerate(names):
        x, y = left + number % per_row * (700 - left) // per_row, 22 + number // per_row * 18
        colour = COLOURS[number % len(COLOURS)]
        drawn += [
            f'<rect x="{x}" y="{y - 10}" width="11" height="11" fill="{colour}"/>',
            _text(name, x + 17, y, "start", 12),
        ]
    return drawn


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def _line(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="grid"/>'


def _text(text: str, x: float, y: float, anchor: str, size: int) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}">{escape(text)}</text>'


def _svg(width: int, height: float, drawn: Sequence[str]) -> str:
    size = f'viewBox="0 0 {width} {height:.0f}" width="{width}" height="{height:.0f}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size}>'
    return "\n".join([head, _STYLE, '<rect width="100%" height="100%" class="page"/>', *drawn, "</svg>", ""])
