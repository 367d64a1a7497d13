# SPDX-License-Identifier: GPL-3.0-or-later
"""The decision over evidence of every completeness: one answer, in order, and nothing told by what is missing."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openngt.diagnosis.causes import CAUSES, NOT_KNOWN
from openngt.diagnosis.checks import CHECKS
from openngt.diagnosis.decide import decide, in_lines

Json = dict[str, Any]
VM, OTHER = "6f1c0c2e-9d3a-4d0e-8a55-0c6a1f0b7e21", "7f1c0c2e-9d3a-4d0e-8a55-0c6a1f0b7e21"
NOW, BEFORE, AFTER = "2026-06-01T12:00:00Z", "2026-05-01T12:00:00Z", "2028-06-01T12:00:00Z"

# A VM of which everything is known and nothing is wrong, but that there is no link.
SERVICE: Json = {
    "time": NOW,
    "vm_uuid": VM,
    "vm_name": "web01",
    "enrolled": True,
    "generation": 4,
    "on_hypervisor": True,
    "power_state": "on",
    "cdrom_drives": [],
    "link": {
        "active": False,
        "transport": None,
        "since": BEFORE,
        "peer": "192.0.2.20:40000",
        "last_seen": BEFORE,
        "last_refusal": None,
        "ended": {"reason": "heartbeat_timeout", "at": BEFORE},
    },
    "agent_version": "0.1.0",
    "available_version": "0.1.0",
    "certificates": [
        {"serial": "1f", "state": "current", "kind": "link", "generation": 4, "not_before": BEFORE, "not_after": AFTER}
    ],
    "mount": None,
    "last_task": None,
    "gateway": {"host": "192.0.2.10", "port": 2074, "listens": True, "bound_to": "0.0.0.0", "refused_here": False},
    "ca_sha256": "aa",
    "strangers": [],
}
GUEST: Json = {
    "time": NOW,
    "clock_ahead_seconds": 2.0,
    "is_root": True,
    "python": "3.11.2",
    "vm_uuid": VM,
    "agent_files": ["/usr/local/openngt"],
    "installed": True,
    "status": {
        "agent_version": "0.1.0",
        "identity": {
            "vm_uuid": VM,
            "generation": 4,
            "kind": "link",
            "serial": "1f",
            "not_after": AFTER,
            "ca_sha256": "aa",
        },
        "link": {"active": False, "last_error": None},
    },
    "unit": {
        "load_state": "loaded",
        "active_state": "active",
        "sub_state": "running",
        "result": "success",
        "unit_file_state": "enabled",
        "exit_status": 0,
        "restarts": 0,
    },
    "journal": [],
    "config": {"cluster_ip": "192.0.2.10", "port": 2074},
    "gateway": [{"host": "192.0.2.10", "port": 2074, "configured": True, "tcp": None, "tls": None}],
    "firewall": [],
    "serial_devices": [],
    "other_tools": [],
    "file_systems": [{"path": "/run", "free_kib": 9000, "free_files": 900}],
    "disc": None,
}


def changed(base: Json, **values: Any) -> Json:
    """A deep copy with values at dotted places, `__` for the dot."""
    made = copy.deepcopy(base)
    for path, value in values.items():
        *folders, last = path.split("__")
        place = made
        for folder in folders:
            place = place[folder]
        place[last] = value
    return made


def test_what_nothing_explains_is_not_known_with_where_to_look() -> None:
    found = decide(SERVICE, GUEST)  # type: ignore[arg-type]
    assert found["cause"] == NOT_KNOWN and "journalctl" in found["remedy"]
    assert not [check for check in found["checks"] if check["state"] == "failed" and check["name"] != "link"]
    assert any("heartbeat_timeout" in text for text in found["evidence"])


TLS_TOO_EARLY = {
    "host": "192.0.2.10",
    "port": 2074,
    "configured": True,
    "tcp": None,
    "tls": "certificate is not yet valid",
}


@pytest.mark.parametrize(
    ("service", "guest", "cause", "also"),
    [
        # What comes first explains what comes after it.
        ({"power_state": "off", "certificates__": None}, None, "VM_POWERED_OFF", []),
        (
            {},
            {"unit__active_state": "inactive", "status__identity__serial": "2e"},
            "AGENT_STOPPED",
            ["CERTIFICATE_UNKNOWN"],
        ),
        (
            {},
            {"installed": False, "other_tools": ["/usr/local/nutanix"]},
            "OTHER_TOOLS_PRESENT",
            ["AGENT_NOT_INSTALLED"],
        ),
        ({}, {"clock_ahead_seconds": -9e7, "gateway": [TLS_TOO_EARLY]}, "CLOCK_WRONG", ["GATEWAY_NOT_TRUSTED"]),
        # A unit that is on its way up once more has failed; one that is for the first time may yet come.
        ({}, {"unit__active_state": "activating", "unit__sub_state": "start", "unit__restarts": 3}, "AGENT_FAILED", []),
        ({}, {"unit__active_state": "activating", "unit__sub_state": "start"}, NOT_KNOWN, []),
        # What is wrong and yet no reason is no cause.
        ({}, {"other_tools": ["/usr/local/nutanix"]}, NOT_KNOWN, []),
        ({}, {"clock_ahead_seconds": 900.0}, NOT_KNOWN, []),
        ({}, {"file_systems": [{"path": "/run", "free_kib": 0}]}, NOT_KNOWN, []),
        ({"link__active": True, "link__transport": "tls"}, {"clock_ahead_seconds": 900.0}, "LINK_ACTIVE", []),
        # A link over the network counts, and the port that keeps it there is told beside it; not where there is none.
        (
            {"link__active": True, "link__transport": "tls", "link__serial_port_held_until": AFTER},
            None,
            "LINK_ACTIVE",
            ["SERIAL_PORT_HELD"],
        ),
        ({"link__serial_port_held_until": AFTER}, {}, NOT_KNOWN, []),
        # A refusal that a later session has overtaken is past.
        ({"link__last_refusal": {"reason": "retired", "at": "2026-04-01T00:00:00Z"}}, None, NOT_KNOWN, []),
        ({"link__last_refusal": {"reason": "retired", "at": NOW}}, None, "CERTIFICATE_RETIRED", []),
        # The guest's own serial counts more than a refusal, which may have been a clone's.
        ({"link__last_refusal": {"reason": "retired", "at": NOW}}, {}, NOT_KNOWN, []),
        # One side's word alone is none.
        ({"gateway__refused_here": True}, {}, NOT_KNOWN, []),
        ({"on_hypervisor": None, "power_state": "unknown"}, None, NOT_KNOWN, []),
    ],
)
def test_the_order_of_causes_and_what_is_none(service: Json, guest: Json | None, cause: str, also: list[str]) -> None:
    service = {key: value for key, value in service.items() if not key.endswith("__")}
    given_guest = None if guest is None else changed(GUEST, **guest)
    found = decide(changed(SERVICE, **service), given_guest)  # type: ignore[arg-type]
    assert (found["cause"], [other["cause"] for other in found["also"]]) == (cause, also)


def test_without_either_side_every_check_is_named_as_not_made() -> None:
    found = decide(None, None)
    assert found["cause"] == NOT_KNOWN and found["link_active"] is None
    assert {check["state"] for check in found["checks"]} == {"not_made"}
    text = "\n".join(in_lines(found, "web01"))
    assert all(check.name in text for check in CHECKS)


@st.composite
def pruned(draw: Callable[..., Any], whole: Json) -> Json:
    """The evidence as an older or a poorer side would give it: any keys may be missing or null."""
    kept = copy.deepcopy(whole)
    for key in draw(st.sets(st.sampled_from(sorted(whole)))):
        if draw(st.booleans()):
            del kept[key]
        else:
            kept[key] = None
    return kept


@given(service=st.none() | pruned(SERVICE), guest=st.none() | pruned(GUEST))
def test_missing_evidence_never_tells_a_cause(service: Any, guest: Any) -> None:
    found = decide(service, guest)
    assert (found["cause"], found["also"]) == (NOT_KNOWN, [])
    assert found["remedy"] and in_lines(found)[0].startswith(("web01: ", "VM: ", VM))


UNWELL = changed(
    GUEST,
    clock_ahead_seconds=-9e7,
    journal=["No space left on device"],
    firewall=["tcp dport 2074 drop"],
    file_systems=[{"path": "/run", "free_kib": 0, "free_files": 0}],
    disc={"device": "/dev/sr0", "mounted_at": None},
    gateway=[{"host": "192.0.2.9", "port": 1, "configured": True, "tcp": "Connection refused"}, TLS_TOO_EARLY],
    status__identity__vm_uuid=OTHER,
    status__link={"active": False, "last_error": {"code": "IDENTITY_INVALID", "message": "damaged"}},
    unit={"load_state": "loaded", "active_state": "failed", "sub_state": "failed", "restarts": 3},
)
UNSERVED = changed(
    SERVICE,
    mount={"phase": "mounted", "generation": 5, "drive": "cd0", "since": NOW, "holder": "x"},
    link__last_refusal={"reason": "revoked", "at": NOW},
    link__ended={"reason": "goodbye", "at": NOW},
    gateway__refused_here=True,
    strangers=[{"reason": "expired", "peer": "192.0.2.20:1", "at": NOW}],
    certificates=[{**SERVICE["certificates"][0], "state": "revoked", "not_after": BEFORE}],
)


@given(service=pruned(UNSERVED), guest=st.none() | pruned(UNWELL))
def test_whatever_is_missing_there_is_an_answer(service: Any, guest: Any) -> None:
    found = decide(service, guest)
    codes = [found["cause"], *(other["cause"] for other in found["also"])]
    order = [cause.code for cause in CAUSES if cause.code in codes]
    assert codes in (order, [NOT_KNOWN])
    assert len(found["checks"]) == len(CHECKS) and in_lines(found)


def test_a_link_that_the_agent_knows_to_be_cut_before_the_service_does() -> None:
    stale = changed(SERVICE, link__active=True, link__transport="tls")
    cut = [{"host": "192.0.2.10", "port": 2074, "configured": True, "tcp": "no answer within 5 s"}]
    found = decide(stale, changed(GUEST, gateway=cut))  # type: ignore[arg-type]
    assert (found["cause"], found["link_active"], found["also"]) == ("GATEWAY_BLOCKED", False, [])
    # An agent that says so with nothing else wrong is between two connections, as in a rotation.
    found = decide(stale, GUEST)  # type: ignore[arg-type]
    assert (found["cause"], found["link_active"]) == ("LINK_ACTIVE", True)


def test_a_clone_is_told_once_and_not_by_its_consequences() -> None:
    clone = changed(
        GUEST,
        status__identity__vm_uuid=OTHER,
        status__identity__serial="2e",
        status__link={"active": False, "last_error": {"code": "IDENTITY_INVALID", "message": "another VM's"}},
    )
    found = decide(SERVICE, clone)  # type: ignore[arg-type]
    assert (found["cause"], found["also"]) == ("IDENTITY_OF_ANOTHER_VM", [])


def test_codes_are_words_and_each_has_a_check_a_condition_and_a_remedy() -> None:
    assert len({cause.code for cause in CAUSES}) == len(CAUSES)
    names = {check.name for check in CHECKS} | {"service"}
    for cause in CAUSES:
        assert cause.code.isupper() and cause.check in names, cause.code
        assert cause.when and cause.remedy and cause.shown_by in ("service", "guest", "both", "either")
