# SPDX-License-Identifier: GPL-3.0-or-later
"""A list of VMs, filtered, sorted and cut into pages.

A page's token holds the place of its last VM in the order, not a number of rows. So a VM that stays as it is is shown
exactly once, whatever is enrolled, disabled or changed between two pages; a VM that itself changes its place meanwhile
may be missed or shown again, as in any list without a lock.
"""

import base64
import binascii
import bisect
import datetime
import hashlib
import json
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from typing import Any

from openngt.errors import OpenNGTError

from ..store.pages import foreign_page_token
from ..store.registry import Vm
from .record import Sight
from .vm_fields import FIELDS, NONE, Field, Filter, Value, field_of, parse_filter

__all__ = ["DEFAULT_SORT", "TALLIED", "Key", "Listing", "Orders", "Tally", "next_page", "order_of", "parse_listing"]

DEFAULT_SORT = "vm_name"
KEEP_SECONDS = 5.0
KEEP_ORDERS = 8

TALLIED = ("link", "expiry", "version", "tools_iso_mounted")
"""Fields of a few values, for which a fleet is counted. None of them needs a look at the hypervisor."""

Key = tuple[str, str, str]
"""The sorted field as a text that sorts like its value; then, among equals, name and UUID."""


@dataclass(frozen=True)
class Listing:
    """What is asked for. `names`: UUIDs and names, all VMs when empty; a VM must meet every filter."""

    names: frozenset[str]
    filters: tuple[Filter, ...]
    field: Field
    descending: bool
    digest: str
    """Of names, filters and order: a page token belongs to one list."""

    @property
    def by_name_alone(self) -> bool:
        """Whether names and UUIDs say all that the order needs."""
        return self.field.name == DEFAULT_SORT and not self.filters

    @property
    def needs_power_states(self) -> bool:
        return any(field.name == "power_state" for field in (self.field, *(one.field for one in self.filters)))

    def key(self, sight: Sight, now: datetime.datetime) -> Key:
        text = sort_text(self.field, self.field.value(sight, now), last=not self.descending)
        return text, sight.vm.vm_name, sight.vm.vm_uuid

    def matches(self, sight: Sight, now: datetime.datetime) -> bool:
        return all(one.matches(sight, now) for one in self.filters)


def parse_listing(names: Sequence[str] = (), filters: Sequence[str] = (), sort: str = DEFAULT_SORT) -> Listing:
    """INVALID_INPUT names the field that is wrong and what it allows. `sort`: a field, with `-` before it reversed."""
    descending = sort.startswith("-")
    asked = json.dumps([sorted(names), sorted(filters), sort])
    return Listing(
        names=frozenset(names) | {name.lower() for name in names},
        filters=tuple(parse_filter(text) for text in filters),
        field=field_of(sort.removeprefix("-"), "sort"),
        descending=descending,
        digest=hashlib.sha256(asked.encode("utf-8", "surrogatepass")).hexdigest()[:16],
    )


def order_of(listing: Listing, vms: Iterable[Vm], see: Callable[[Vm], Sight], now: datetime.datetime) -> list[Key]:
    """The keys of all VMs in the list, ascending. `see` tells what is known of one."""
    named = (vm for vm in vms if not listing.names or vm.vm_uuid in listing.names or vm.vm_name in listing.names)
    if listing.by_name_alone:
        return sorted((sort_text(listing.field, vm.vm_name, last=True), vm.vm_name, vm.vm_uuid) for vm in named)
    return sorted(listing.key(sight, now) for sight in map(see, named) if listing.matches(sight, now))


def next_page(
    listing: Listing, order: Sequence[Key], limit: int, page_token: str | None
) -> tuple[list[Key], str | None]:
    """Up to `limit` keys behind the token's place, and the token of the page after them; None when that is all."""
    if limit < 1:
        raise OpenNGTError("INVALID_INPUT", "limit: give a whole number above 0")
    after = None if page_token is None else read_token(page_token, listing)
    if listing.descending:
        end = len(order) if after is None else bisect.bisect_left(order, after)
        chosen = [*reversed(order[max(0, end - limit) : end])]
        more = end > limit
    else:
        begin = 0 if after is None else bisect.bisect_right(order, after)
        chosen = [*order[begin : begin + limit]]
        more = len(order) > begin + limit
    return chosen, write_token(listing, chosen[-1]) if more else None


@dataclass
class Tally:
    """How many VMs there are, how many of them a list has, and how many have which value of each field of TALLIED."""

    total: int = 0
    matching: int = 0
    counts: dict[str, dict[str, int]] = dataclass_field(
        default_factory=lambda: {name: dict.fromkeys((*FIELDS[name].choices, NONE), 0) for name in TALLIED}
    )

    def add(self, listing: Listing, sight: Sight, now: datetime.datetime) -> None:
        self.total += 1
        self.matching += listing.matches(sight, now)
        for name, counts in self.counts.items():
            counts[str(FIELDS[name].value(sight, now) or NONE)] += 1


class Orders:
    """Orders of lists that somebody is paging through. To sort a fleet once for each page of it would cost the most.

    An order is kept for seconds after its first page. What a page shows of its VMs is always of that moment.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._kept: OrderedDict[str, tuple[float, list[Key]]] = OrderedDict()

    def get(self, listing: Listing, page_token: str | None) -> list[Key] | None:
        """None for a first page, which begins anew, and for an order that is no longer kept."""
        if page_token is None or listing.digest not in self._kept:
            return None
        at, order = self._kept[listing.digest]
        return order if self._clock() - at <= KEEP_SECONDS else None

    def put(self, listing: Listing, order: list[Key]) -> None:
        now = self._clock()
        self._kept[listing.digest] = (now, order)
        self._kept.move_to_end(listing.digest)
        while len(self._kept) > KEEP_ORDERS or now - next(iter(self._kept.values()))[0] > KEEP_SECONDS:
            self._kept.popitem(last=False)


def sort_text(field: Field, value: Value, *, last: bool) -> str:
    """A text that sorts as the value does; no value comes behind all others in either direction."""
    if value is None:
        return "1" if last else "0"
    return ("0" if last else "1") + _text_of(field.comparable(value))


def _text_of(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, datetime.datetime):
        return value.astimezone(datetime.UTC).isoformat(timespec="microseconds")
    if isinstance(value, int):
        return f"{value + 10**12:014d}"
    numbers, is_release = value
    return "".join(f"{number:010d}." for number in numbers) + f"!{int(is_release)}"  # before any further number


def write_token(listing: Listing, key: Key) -> str:
    content = json.dumps([listing.digest, *key], ensure_ascii=False, separators=(",", ":"))
    return base64.urlsafe_b64encode(content.encode("utf-8", "surrogatepass")).decode().rstrip("=")


def read_token(token: str, listing: Listing) -> Key:
    """INVALID_INPUT for what no list has given, or another list than this one."""
    try:
        content = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        digest, text, name, vm_uuid = json.loads(content.decode("utf-8", "surrogatepass"))
    except (binascii.Error, UnicodeDecodeError, ValueError, TypeError, RecursionError) as exc:
        raise foreign_page_token() from exc
    if not all(isinstance(part, str) for part in (text, name, vm_uuid)):
        raise foreign_page_token()
    if digest != listing.digest:
        message = "page_token: it belongs to a list with other names, filters or order; repeat those with each page"
        raise OpenNGTError("INVALID_INPUT", message)
    return text, name, vm_uuid
