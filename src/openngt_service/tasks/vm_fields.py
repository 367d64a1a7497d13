# SPDX-License-Identifier: GPL-3.0-or-later
"""What a list of VMs can be filtered and sorted by: one table of fields, and the words of a filter. Pure.

A filter is `FIELD=VALUE[,VALUE…]`, with `!=` for its opposite and `<`, `<=`, `>`, `>=` where values have an order.
"""

import datetime
import fnmatch
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

from openngt.errors import OpenNGTError
from openngt.pki.expiry import ExpiryState, days_left
from openngt.version import __version__

from ..hypervisors.base import PowerState
from ..ports import CertificateKind, Refusal, SerialState
from ..versions import version_order
from .record import Sight, expiry_of

__all__ = ["FIELDS", "NONE", "Field", "Filter", "field_of", "parse_filter"]

Kind = Literal["text", "choice", "number", "version", "time"]
Value = str | int | datetime.datetime | None

FILTER: Final = re.compile(r"([A-Za-z_]{1,64})(!=|<=|>=|=|<|>)(.+)", re.DOTALL)
ORDERED: Final[frozenset[Kind]] = frozenset({"number", "version", "time"})
COMPARE: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
NONE: Final = "none"
"""How a filter asks for a field that has no value."""
FLAG: Final = ("false", "true")
WANTED: Final[Mapping[Kind, str]] = {
    "text": "a text, in which * and ? stand for any characters",
    "number": "a whole number",
    "version": "a version such as 1.2.0",
    "time": "a date (2026-12-31) or a time in RFC 3339",
}


@dataclass(frozen=True)
class Field:
    name: str
    kind: Kind
    value: Callable[[Sight, datetime.datetime], Value]
    choices: tuple[str, ...] = ()
    """Of a choice: its values in their order, the first sorts first."""

    @property
    def allowed(self) -> str:
        wanted = ", ".join(self.choices) if self.choices else WANTED[self.kind]
        return f"{wanted}, or {NONE}"

    def comparable(self, value: Any) -> Any:
        """`value` in the form in which two of this field's values are compared."""
        if self.kind == "version":
            return version_order(value)
        if self.kind == "choice":  # what a newer release has written sorts last
            return self.choices.index(value) if value in self.choices else len(self.choices)
        return value


@dataclass(frozen=True)
class Filter:
    """One condition; `matches` says whether a VM meets it."""

    field: Field
    operator: str
    values: tuple[Value, ...]

    def matches(self, sight: Sight, now: datetime.datetime) -> bool:
        found = self.field.value(sight, now)
        if self.operator in COMPARE:
            if found is None:
                return False
            [limit] = self.values
            return COMPARE[self.operator](self.field.comparable(found), self.field.comparable(limit))
        return any(self._is(found, value) for value in self.values) == (self.operator == "=")

    def _is(self, found: Value, value: Value) -> bool:
        if self.field.kind == "text" and isinstance(found, str) and isinstance(value, str):
            return fnmatch.fnmatchcase(found.casefold(), value.casefold().replace("[", "[[]"))
        return found == value


def flag(name: str, value: Callable[[Sight], bool]) -> Field:
    return Field(name, "choice", lambda sight, now: FLAG[value(sight)], FLAG)


def version_state(sight: Sight, now: datetime.datetime) -> str | None:
    version = sight.link.row.agent_version
    if version is None:
        return None
    return "outdated" if version_order(version) < version_order(__version__) else "latest"


TABLE: Final = (
    Field("vm_name", "text", lambda sight, now: sight.vm.vm_name),
    Field("vm_uuid", "text", lambda sight, now: sight.vm.vm_uuid),
    Field("ngt_uuid", "text", lambda sight, now: sight.vm.ngt_uuid),
    flag("ngt_enabled", lambda sight: sight.vm.enabled),
    flag("tools_iso_mounted", lambda sight: sight.mounted),
    flag("vss_snapshot", lambda sight: sight.vm.capabilities.vss_snapshot),
    flag("self_service_restore", lambda sight: sight.vm.capabilities.self_service_restore),
    Field(
        "link",
        "choice",
        lambda sight, now: "active" if sight.link.active else "inactive",
        ("inactive", "active"),
    ),
    Field(
        "transport",
        "choice",
        lambda sight, now: None if sight.link.session is None else sight.link.session.transport,
        ("serial", "tls"),
    ),
    Field("power_state", "choice", lambda sight, now: sight.power_state, get_args(PowerState)),
    Field("agent_version", "version", lambda sight, now: sight.link.row.agent_version),
    Field("version", "choice", version_state, ("outdated", "latest")),
    Field("generation", "number", lambda sight, now: sight.vm.generation),
    Field(
        "certificate_kind",
        "choice",
        lambda sight, now: None if sight.certificate is None else sight.certificate.kind,
        get_args(CertificateKind),
    ),
    Field(
        "certificate_state",
        "choice",
        lambda sight, now: None if sight.certificate is None else sight.certificate.state,
        get_args(SerialState),
    ),
    Field(
        "certificate_expires",
        "time",
        lambda sight, now: None if sight.certificate is None else sight.certificate.not_after,
    ),
    Field(
        "days_left",
        "number",
        lambda sight, now: None if sight.certificate is None else days_left(sight.certificate.not_after, now),
    ),
    Field(
        "expiry",
        "choice",
        lambda sight, now: None if sight.certificate is None else expiry_of(sight.certificate, now),
        get_args(ExpiryState),
    ),
    Field("last_refusal", "choice", lambda sight, now: sight.link.row.refusal_reason, get_args(Refusal)),
    Field("guest_os", "text", lambda sight, now: sight.guest_os),
    Field("enrolled_at", "time", lambda sight, now: sight.vm.enrolled_at),
)
FIELDS: Final[Mapping[str, Field]] = {field.name: field for field in TABLE}


def field_of(name: str, parameter: str) -> Field:
    """The field of that name; INVALID_INPUT names `parameter` and every field that there is."""
    field = FIELDS.get(name)
    if field is None:
        known = list(FIELDS)
        text = f"{parameter}: there is no field of that name; there are {', '.join(known)}"
        raise OpenNGTError("INVALID_INPUT", text, {"field": parameter, "allowed": known})
    return field


def parse_filter(text: str) -> Filter:
    """INVALID_INPUT names the field and what it allows, never the value that was given."""
    match = FILTER.fullmatch(text)
    if match is None:
        message = "filter: give FIELD=VALUE, as in link=inactive or days_left<=45"
        raise OpenNGTError("INVALID_INPUT", message, {"field": "filter", "allowed": list(FIELDS)})
    name, sign, rest = match.groups()
    field = field_of(name, "filter")
    if sign in COMPARE and field.kind not in ORDERED:
        raise _refused(field, f"{sign} needs values with an order; use = or !=")
    values = tuple(_parsed(field, part.strip()) for part in rest.split(","))
    if sign in COMPARE and (len(values) > 1 or None in values):
        raise _refused(field, f"{sign} takes one value and not {NONE}")
    return Filter(field, sign, values)


def _parsed(field: Field, text: str) -> Value:
    if text == NONE:
        return None
    try:
        return _PARSERS[field.kind](field, text)
    except ValueError:
        raise _refused(field, f"give {field.allowed}") from None


def _choice(field: Field, text: str) -> str:
    by_name = {choice.casefold(): choice for choice in field.choices}
    if text.casefold() not in by_name:
        raise ValueError
    return by_name[text.casefold()]


def _number(field: Field, text: str) -> int:
    if len(text) > 9:
        raise ValueError
    return int(text)


def _text(field: Field, text: str) -> str:
    if not text:
        raise ValueError
    return text


def _version(field: Field, text: str) -> str:
    if not re.match(r"[0-9]", text):
        raise ValueError
    return text


def _time(field: Field, text: str) -> datetime.datetime:
    moment = datetime.datetime.fromisoformat(text)
    return moment.replace(tzinfo=datetime.UTC) if moment.tzinfo is None else moment


_PARSERS: Final[Mapping[Kind, Callable[[Field, str], Value]]] = {
    "text": _text,
    "choice": _choice,
    "number": _number,
    "version": _version,
    "time": _time,
}


def _refused(field: Field, what: str) -> OpenNGTError:
    allowed: Sequence[str] = field.choices or (WANTED[field.kind],)
    return OpenNGTError("INVALID_INPUT", f"filter {field.name}: {what}", {"field": field.name, "allowed": [*allowed]})
