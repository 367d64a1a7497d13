# SPDX-License-Identifier: GPL-3.0-or-later
"""The coloured grid of the guide: for each VM and day the worst that a check, or all of them, said. Pure."""

import datetime
from collections.abc import Iterable, Sequence, Set
from typing import Any

from openngt.pki.expiry import ExpiryState

from ..store.health_rows import Span
from ..store.registry import Vm
from .policy import worst_of

__all__ = ["days_until", "grid"]

Cell = ExpiryState | None
"""None: nothing is known of that day. The VM was not enrolled, or no check ran."""


def days_until(today: datetime.date, count: int) -> list[datetime.date]:
    """`count` days (of UTC), the last of them today."""
    return [today - datetime.timedelta(days=back) for back in reversed(range(count))]


def grid(
    vms: Iterable[Vm], days: Sequence[datetime.date], spans: Iterable[Span], ran: Set[tuple[str, datetime.date]]
) -> list[dict[str, Any]]:
    """A row for each VM: its cells in the order of `days`. `ran`: which checks ran on which day."""
    of_vm: dict[str, list[Span]] = {}
    for span in spans:
        of_vm.setdefault(span.entity, []).append(span)
    checks_of = {day: {check for check, on in ran if on == day} for day in days}
    return [
        {
            "vm_uuid": vm.vm_uuid,
            "vm_name": vm.vm_name,
            "days": [cell(vm, day, of_vm.get(vm.vm_uuid, ()), checks_of[day]) for day in days],
        }
        for vm in vms
    ]


def cell(vm: Vm, day: datetime.date, spans: Sequence[Span], checks: Set[str]) -> Cell:
    if not checks or vm.enrolled_at.astimezone(datetime.UTC).date() > day:
        return None
    return worst_of(span.state for span in spans if span.check_name in checks and lies_on(span, day))


def lies_on(span: Span, day: datetime.date) -> bool:
    begins = span.since.astimezone(datetime.UTC).date()
    return begins <= day and (span.until is None or span.until.astimezone(datetime.UTC).date() >= day)
