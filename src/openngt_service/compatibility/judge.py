# SPDX-License-Identifier: GPL-3.0-or-later
"""Does an agent of one version work with a service of another? By `versions.json` alone. Pure."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Literal

from openngt.errors import REMEDIES

from ..versions import version_order

__all__ = ["Line", "Support", "distributions", "judge", "lines"]

State = Literal["supported", "too_old", "too_new", "unknown"]


@dataclass(frozen=True)
class Line:
    """A release line (`0.1`) of the service, and the first and last line of agents that work with it."""

    service: str
    oldest_agent: str
    newest_agent: str


@dataclass(frozen=True)
class Support:
    state: State
    message: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """As the VM record shows it; `code` and `remedy` where something is to be done."""
        wrong = self.state in ("too_old", "too_new")
        code = "VERSION_UNSUPPORTED" if wrong else None
        return {
            "state": self.state,
            "code": code,
            "message": self.message,
            "remedy": REMEDIES["VERSION_UNSUPPORTED"] if wrong else None,
        }


@cache
def lines() -> tuple[Line, ...]:
    """The table, the oldest service first."""
    return tuple(Line(**row) for row in _data("versions")["services"])


@cache
def distributions() -> tuple[dict[str, Any], ...]:
    """The guests' operating systems, rows of `distributions.json`."""
    found = _data("distributions")
    return (*found["distributions"], *found["windows"])


def judge(agent: str | None, service: str, table: Sequence[Line] | None = None) -> Support:
    """`unknown` while no agent has connected, and for a service that has no row."""
    row = next((line for line in table or lines() if line.service == line_of(service)), None)
    if agent is None or row is None:
        return Support("unknown")
    own = order(line_of(agent))
    works = f"this service, {service}, works with agents {row.oldest_agent} to {row.newest_agent}"
    if own < order(row.oldest_agent):
        return Support("too_old", f"agent {agent} is too old: {works}")
    if own > order(row.newest_agent):
        return Support("too_new", f"agent {agent} is too new: {works}")
    return Support("supported")


def line_of(version: str) -> str:
    """`0.1` of `0.1.7` and of `0.1rc1`."""
    numbers = (*order(version), 0, 0)
    return f"{numbers[0]}.{numbers[1]}"


def order(version: str) -> tuple[int, ...]:
    return version_order(version)[0]


def _data(name: str) -> dict[str, Any]:
    text = (files(__package__) / f"{name}.json").read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(text)
    return found
