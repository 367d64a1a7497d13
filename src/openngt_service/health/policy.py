# SPDX-License-Identifier: GPL-3.0-or-later
"""What of a check can be set: whether it runs, from which state on it alerts, and its thresholds. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from openngt.errors import OpenNGTError
from openngt.pki.expiry import ExpiryState

__all__ = ["ALERT_FROM", "SEVERITY", "AlertFrom", "Policy", "State", "Threshold", "changed", "worse", "worst_of"]

State = Literal["OFF", "PASS", "INFO", "WARN", "FAIL"]
"""Of a check. OFF: somebody has turned it off."""
SEVERITY: tuple[ExpiryState, ...] = ("PASS", "INFO", "WARN", "FAIL")
AlertFrom = Literal["INFO", "WARN", "FAIL"]
ALERT_FROM: tuple[AlertFrom, ...] = get_args(AlertFrom)


@dataclass(frozen=True)
class Threshold:
    """A whole number. `below` names another threshold of the same check that must be larger."""

    name: str
    default: int
    minimum: int
    maximum: int
    means: str
    below: str | None = None


@dataclass(frozen=True)
class Policy:
    """Thresholds by name, all of them."""

    enabled: bool
    alert_from: AlertFrom
    thresholds: Mapping[str, int]


def worse(one: ExpiryState, other: ExpiryState) -> bool:
    return SEVERITY.index(one) > SEVERITY.index(other)


def worst_of(states: Any) -> ExpiryState:
    """Of states of which some may be OFF; PASS when nothing is wrong."""
    return max((state for state in states if state != "OFF"), key=SEVERITY.index, default="PASS")


def changed(
    policy: Policy,
    known: Mapping[str, Threshold],
    *,
    enabled: bool | None = None,
    alert_from: AlertFrom | None = None,
    thresholds: Mapping[str, int | None] | None = None,
) -> Policy:
    """The policy with these changes; None leaves a value as it is, and for one threshold takes its default again.

    INVALID_INPUT names the threshold, its limits and what it must be smaller than.
    """
    wanted = dict(policy.thresholds)
    for name, value in (thresholds or {}).items():
        threshold = known.get(name)
        if threshold is None:
            there = f"there are {', '.join(known)}" if known else "this check has none"
            raise _refused("thresholds", f"there is no threshold of that name; {there}", [*known])
        wanted[name] = threshold.default if value is None else value
    for name, value in wanted.items():
        _judge(known[name], value, wanted)
    return Policy(
        policy.enabled if enabled is None else enabled,
        policy.alert_from if alert_from is None else alert_from,
        wanted,
    )


def _judge(threshold: Threshold, value: int, all_of_them: Mapping[str, int]) -> None:
    if not threshold.minimum <= value <= threshold.maximum:
        limits = f"{threshold.minimum} to {threshold.maximum}"
        raise _refused(f"thresholds.{threshold.name}", f"give a whole number from {limits}", [limits])
    if threshold.below is not None and value >= all_of_them[threshold.below]:
        limit = f"less than {threshold.below} ({all_of_them[threshold.below]})"
        raise _refused(f"thresholds.{threshold.name}", f"it must be {limit}", [limit])


def _refused(field: str, what: str, allowed: list[str]) -> OpenNGTError:
    return OpenNGTError("INVALID_INPUT", f"{field}: {what}", {"field": field, "allowed": allowed})
