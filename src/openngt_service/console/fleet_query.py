# SPDX-License-Identifier: GPL-3.0-or-later
"""The fleet page's address: the API's filters, order and page, and the same as fields of a form. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from openngt.errors import OpenNGTError

from ..tasks.listing import DEFAULT_SORT, TALLIED
from ..tasks.vm_fields import FIELDS, NONE
from .rendering import address

__all__ = ["COLUMNS", "Column", "Count", "FleetQuery", "Select", "counts_of", "parse_query"]

MOST_FILTERS = 32
LONGEST = 1024
LONGEST_TOKEN = 4096
CHOICES: Final = (
    ("link", "Link"),
    ("expiry", "Certificate"),
    ("power_state", "Power"),
    ("version", "Agent"),
    ("tools_iso_mounted", "ISO mounted"),
)
"""Fields with a list of their values beside the free filter: name, label."""
BADGES: Final[Mapping[str, str]] = {
    "active": "PASS",
    "inactive": "WARN",
    "latest": "PASS",
    "outdated": "INFO",
    **{state: state for state in ("PASS", "INFO", "WARN", "FAIL")},
}


@dataclass(frozen=True)
class Column:
    """`field` is what the column is sorted by."""

    label: str
    field: str


COLUMNS: Final = (
    Column("VM", "vm_name"),
    Column("Link", "link"),
    Column("Certificate", "days_left"),
    Column("Power", "power_state"),
    Column("Agent", "agent_version"),
    Column("Guest", "guest_os"),
    Column("ISO", "tools_iso_mounted"),
)


@dataclass(frozen=True)
class Select:
    name: str
    label: str
    options: tuple[tuple[str, str, bool], ...]
    """Filter, what it is called, whether it is chosen."""


@dataclass(frozen=True)
class Count:
    """So many VMs of the whole fleet, and where they are listed."""

    label: str
    value: str
    number: int
    state: str
    href: str


@dataclass(frozen=True)
class FleetQuery:
    """`filters` are the API's; `name` is a part of the VMs' names, for which the page has a field of its own."""

    filters: tuple[str, ...] = ()
    name: str = ""
    sort: str = DEFAULT_SORT
    page_token: str | None = None
    usual: str = DEFAULT_SORT
    """The page's order where its address says none."""

    @property
    def all_filters(self) -> list[str]:
        return [*self.filters, *([f"vm_name=*{self.name}*"] if self.name else [])]

    def href(self, *place: str, **more: str) -> str:
        """`place` and `more`: of another page than the fleet's that lists VMs, and what else its address says."""
        sort = None if self.sort == self.usual else self.sort
        filters = list(self.filters)
        return address(*place, **more, filter=filters, name=self.name, sort=sort, page_token=self.page_token)

    def sorted_by(self, field: str) -> str:
        """Where the list stands in this order; a second time, in the reverse one."""
        return replace(self, sort=f"-{field}" if self.sort == field else field, page_token=None).href()

    def order_of(self, field: str) -> str:
        """For `aria-sort`."""
        if self.sort.removeprefix("-") != field:
            return "none"
        return "descending" if self.sort.startswith("-") else "ascending"

    def at(self, page_token: str | None) -> "FleetQuery":
        return replace(self, page_token=page_token)

    def without(self, text: str) -> "FleetQuery":
        return replace(self, filters=tuple(one for one in self.filters if one != text), page_token=None)

    @property
    def selects(self) -> list[Select]:
        return [
            Select(
                name,
                label,
                tuple(
                    (f"{name}={value}", value, f"{name}={value}" in self.filters)
                    for value in (*FIELDS[name].choices, NONE)
                ),
            )
            for name, label in CHOICES
        ]

    @property
    def others(self) -> list[str]:
        """Filters that no list of values shows."""
        known = {text for select in self.selects for text, _, chosen in select.options if chosen}
        return [text for text in self.filters if text not in known]


def parse_query(given: Sequence[tuple[str, str]], usual: str = DEFAULT_SORT) -> FleetQuery:
    """From an address as a browser sends it, empty fields of the form included. INVALID_INPUT names the field."""
    filters = [value.strip() for name, value in given if name == "filter" and value.strip()]
    last = dict(given)
    if len(filters) > MOST_FILTERS or any(len(text) > LONGEST for text in filters):
        message = f"filter: give at most {MOST_FILTERS} of at most {LONGEST} characters"
        raise OpenNGTError("INVALID_INPUT", message, {"field": "filter"})
    for name, longest in (("name", 255), ("sort", 64), ("page_token", LONGEST_TOKEN)):
        if len(last.get(name, "")) > longest:
            raise OpenNGTError("INVALID_INPUT", f"{name}: give at most {longest} characters", {"field": name})
    return FleetQuery(
        tuple(dict.fromkeys(filters)),
        last.get("name", "").strip(),
        last.get("sort") or usual,
        last.get("page_token") or None,
        usual,
    )


def counts_of(tally: Mapping[str, Any]) -> list[Count]:
    """Of the whole fleet, whatever is filtered; values that no VM has are left out."""
    labels = dict(CHOICES)
    return [
        Count(labels[name], value, number, BADGES.get(value, "OFF"), address(filter=[f"{name}={value}"]))
        for name in TALLIED
        for value, number in tally["counts"][name].items()
        if number
    ]
