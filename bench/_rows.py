# SPDX-License-Identifier: GPL-3.0-or-later
"""What every benchmark gives: rows of one shape."""

from typing import TypedDict

__all__ = ["Row", "not_measured", "row"]


class Row(TypedDict):
    """One measurement. `value` is None where it could not be made: `name` says why; so says `peer` of a peer's."""

    name: str
    value: float | None
    unit: str
    peer: str | None
    peer_value: float | None
    ratio: float | None
    """Ours to the peer's; None where there is no peer."""
    goal: str
    met: bool


def row(
    name: str,
    value: float,
    unit: str,
    *,
    goal: str,
    met: bool,
    peer: str | None = None,
    peer_value: float | None = None,
) -> Row:
    return {
        "name": name,
        "value": _short(value),
        "unit": unit,
        "peer": peer,
        "peer_value": None if peer_value is None else _short(peer_value),
        "ratio": _short(value / peer_value) if peer_value else None,
        "goal": goal,
        "met": met,
    }


def not_measured(name: str, why: str, *, unit: str = "", goal: str = "") -> Row:
    """A row that stands for a goal that nobody has looked at; it counts as missed."""
    return {
        "name": f"{name}: not measured, {why}",
        "value": None,
        "unit": unit,
        "peer": None,
        "peer_value": None,
        "ratio": None,
        "goal": goal,
        "met": False,
    }


def _short(value: float) -> float:
    """Four digits; no measurement here is good for more."""
    return float(f"{value:.4g}")
