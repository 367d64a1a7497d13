# SPDX-License-Identifier: GPL-3.0-or-later
"""The page's drawings as SVG: when certificates end, and shares of a whole. Pure.

Sizes and places are attributes and colours come from classes: the page's policy allows no style of an element's own.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Any

from .text import escaped, plural

__all__ = ["Bar", "bars_of", "expiry_plot", "share", "summary_of"]

Json = dict[str, Any]
STACK = ("PASS", "INFO", "WARN", "FAIL")
MOST_MONTHS = 36
WIDTH, HEIGHT = 1200, 300
LEFT, TOP, BOTTOM = 56, 28, 46
WIDEST_BAR = 56
NAMES = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


class Bar:
    """A month, or all before or behind the ones that are shown."""

    def __init__(self, title: str, label: str, year: str, expiry: Mapping[str, int]) -> None:
        self.title, self.label, self.year = title, label, year
        self.expiry = dict(expiry)

    @property
    def total(self) -> int:
        return sum(self.expiry.values())

    def add(self, expiry: Mapping[str, int]) -> None:
        for name, count in expiry.items():
            self.expiry[name] = self.expiry.get(name, 0) + count


def bars_of(months: Sequence[Json], now: datetime.datetime) -> list[Bar]:
    """One for each month from this one to the last that has any, at most 36 of them.

    What is past stands in a bar before them, what comes later in one behind.
    """
    if not months:
        return []
    first = now.year * 12 + now.month - 1
    found = {number_of(one["month"]): one for one in months}
    last = min(max(*found, first), first + MOST_MONTHS - 1)
    past = Bar("before this month", "before", "", {})
    later = Bar(f"after {name_of(last)}", "later", "", {})
    bars = {
        number: Bar(name_of(number), NAMES[number % 12], str(number // 12), {}) for number in range(first, last + 1)
    }
    for number, one in found.items():
        month = past if number < first else later if number > last else bars[number]
        month.add(one["expiry"])
    return [*([past] if past.total else []), *bars.values(), *([later] if later.total else [])]


def number_of(month: str) -> int:
    return int(month[:4]) * 12 + int(month[5:7]) - 1


def name_of(number: int) -> str:
    return f"{NAMES[number % 12]} {number // 12}"


def summary_of(bars: Sequence[Bar]) -> str:
    """The plot in a sentence, for who cannot see it."""
    if not bars:
        return "There is no certificate."
    most = max(bars, key=lambda month: month.total)
    total = sum(month.total for month in bars)
    urgent = sum(month.expiry.get("FAIL", 0) for month in bars)
    return (
        f"{plural(total, 'certificate')}, ending from {bars[0].title} to {bars[-1].title}; most of them, "
        f"{most.total:,}, in {most.title}; {urgent:,} expired or within days of it."
    )


def expiry_plot(bars: Sequence[Bar]) -> str:
    """Stacked by urgency; the numbers stand above the bars."""
    most = max((month.total for month in bars), default=0)
    rise = step_of(most)
    lines = max(1, -(-most // rise))
    area, floor = HEIGHT - TOP - BOTTOM, HEIGHT - BOTTOM
    step = (WIDTH - LEFT - 8) / max(len(bars), 1)
    width = min(step * 0.72, WIDEST_BAR)
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-labelledby="plot-title plot-text">'
        '<title id="plot-title">Certificates by the month of their end</title>'
        f'<desc id="plot-text">{escaped(summary_of(bars))}</desc>'
    ]
    for number in range(lines + 1):
        y = floor - area * number / lines
        kind = "base" if number == 0 else "rule"
        parts.append(f'<line class="{kind}" x1="{LEFT}" x2="{WIDTH}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="axis" x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{rise * number:,}</text>')
    shown_year = ""
    for place, month in enumerate(bars):
        middle = LEFT + 4 + step * (place + 0.5)
        parts.append(drawn(month, middle, width, floor, area / (lines * rise)))
        new_year = month.year and month.year != shown_year
        shown_year = month.year or shown_year
        parts.append(f'<text class="axis" x="{middle:.1f}" y="{floor + 18}" text-anchor="middle">{month.label}</text>')
        if new_year:
            parts.append(f'<text x="{middle:.1f}" y="{floor + 36}" text-anchor="middle">{month.year}</text>')
    return "\n".join([*parts, "</svg>"])


def drawn(month: Bar, middle: float, width: float, floor: float, unit: float) -> str:
    if not month.total:
        return ""
    parts = [f"<g><title>{escaped(month.title)}: {plural(month.total, 'certificate')}</title>"]
    y = floor
    for state in STACK:
        height = month.expiry.get(state, 0) * unit
        if height:
            y -= height
            place = f'x="{middle - width / 2:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"'
            parts.append(f'<rect class="bar {state}" {place}/>')
    parts.append(f'<text x="{middle:.1f}" y="{y - 6:.1f}" text-anchor="middle">{month.total:,}</text></g>')
    return "".join(parts)


def step_of(most: int) -> int:
    """Between two lines of the axis: 1, 2 or 5 times a power of ten, so that at most five of them hold `most`."""
    size = 1
    while True:
        for step in (size, 2 * size, 5 * size):
            if step * 5 >= most:
                return step
        size *= 10


def share(parts: Sequence[tuple[str, int]]) -> str:
    """Parts of a whole side by side, by class and number. The same numbers stand in words beside it."""
    total = sum(count for _name, count in parts) or 1
    x, drawn_parts = 0.0, []
    for name, count in parts:
        width = 1000 * count / total
        if count:
            drawn_parts.append(f'<rect class="bar {name}" x="{x:.1f}" y="0" width="{width:.1f}" height="24"/>')
        x += width
    inside = "".join(drawn_parts)
    return f'<svg class="share" viewBox="0 0 1000 24" preserveAspectRatio="none" aria-hidden="true">{inside}</svg>'
