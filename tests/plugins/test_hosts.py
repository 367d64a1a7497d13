# SPDX-License-Identifier: GPL-3.0-or-later
"""What a VM is as a host of an inventory: pure decisions about names, addresses, groups and variables."""

from typing import Any

import pytest
from plugins.module_utils.hosts import (
    FIXED_GROUPS,
    address_of,
    distinct_names,
    groups_of,
    networks,
    variables_of,
    without_twins,
)

# Under the name by which hosts.py knows it: the library imported twice has two classes.
from plugins.module_utils.openngt.errors import OpenNGTError

ONE = "6f1c0c2e-9d3a-4d0e-8a55-0c6a1f0b7e21"
OTHER = "6f1c0c2f-9d3a-4d0e-8a55-0c6a1f0b7e21"
ENROLLED: dict[str, Any] = {
    "vm_uuid": ONE,
    "vm_name": "web1",
    "ngt_uuid": OTHER,
    "power_state": "on",
    "communication_link_active": True,
    "transport": "serial",
    "certificate": {"expiry": "WARN"},
    "agent_version": "0.1.0",
    "reboot_required": True,
    "vm_info": {"guest_os_id": "debian"},
}


def says(*addresses: Any) -> dict[str, Any]:
    interfaces = [{"interface": "eth0", "ipv4": [], "ipv6": [{"ip_address": address} for address in addresses]}]
    return {**ENROLLED, "vm_info": {"network_interfaces": interfaces}}


def test_the_groups_of_a_record() -> None:
    assert groups_of(ENROLLED) == [
        "power_on",
        "link_active",
        "transport_serial",
        "expiry_warn",
        "reboot_required",
        "version_0_1_0",
        "os_debian",
    ]
    silent = {**ENROLLED, "communication_link_active": False, "transport": None, "certificate": None, "vm_info": None}
    assert groups_of({**silent, "agent_version": None, "reboot_required": None}) == ["power_on", "link_inactive"]
    stranger = {"vm_uuid": ONE, "vm_name": "x", "power_state": "off", "clone_pending": True}
    assert groups_of(stranger) == ["not_enrolled", "power_off", "clone_pending"]
    assert groups_of({**stranger, "clone_pending": False}) == ["not_enrolled", "power_off"]


@pytest.mark.parametrize(
    ("said", "group"),
    [
        ("Debian GNU/Linux", "os_debian_gnu_linux"),
        ("{{ lookup('pipe', 'id') }}", "os_lookup_pipe_id"),
        ("x" * 500, f"os_{'x' * 64}"),
        ("\n\0 ", None),
        (["debian"], None),
        (None, None),
    ],
)
def test_what_a_guest_says_is_a_word_of_a_groups_name_at_most(said: Any, group: str | None) -> None:
    found = groups_of({**ENROLLED, "vm_info": {"guest_os_id": said}})
    assert [name for name in found if name.startswith("os_")] == ([group] if group else [])


def test_groups_that_are_always_there_are_those_that_a_record_can_have() -> None:
    assert {"power_on", "link_active", "transport_tls", "expiry_fail", "not_enrolled"} <= set(FIXED_GROUPS)
    words = {name for name in groups_of(ENROLLED) if not name.startswith(("version_", "os_"))}
    assert words <= set(FIXED_GROUPS)


def test_variables_carry_the_record_under_one_prefix() -> None:
    found = variables_of(ENROLLED, "ngt_")
    assert (found["openngt_vm"], found["ngt_vm_name"], found["ngt_uuid"]) == (ONE, "web1", OTHER)
    assert found["ngt_enrolled"] is True and "ngt_ngt_uuid" not in found
    assert variables_of(ENROLLED, "")["vm_name"] == "web1"
    assert variables_of({"vm_uuid": ONE, "enrolled": False}, "ngt_")["ngt_enrolled"] is False


def test_the_address_is_one_that_others_can_reach() -> None:
    record = says("127.0.0.1", "fe80::1", "169.254.1.1", "2001:db8::5", "10.1.2.3", "192.0.2.7")
    assert address_of(record, "ipv4", []) == "10.1.2.3"
    assert address_of(record, "ipv6", []) == "2001:db8::5"
    assert address_of(record, "any", []) == "10.1.2.3"
    assert address_of(record, "any", networks(["192.0.2.0/24", "10.0.0.0/8"])) == "192.0.2.7"
    assert address_of(record, "ipv4", networks(["198.51.100.0/24"])) is None


@pytest.mark.parametrize("said", ["{{ 1 }}", "10.1.2.3 -oProxyCommand=x", 5, None, "10.1.2.300", "fe80::1%eth0", ""])
def test_what_is_no_address_is_none(said: Any) -> None:
    assert address_of(says(said), "any", []) is None


@pytest.mark.parametrize("info", [None, "text", {"network_interfaces": "x"}, {"network_interfaces": [1, {"ipv4": 2}]}])
def test_a_record_of_another_shape_has_no_address(info: Any) -> None:
    assert address_of({**ENROLLED, "vm_info": info}, "any", []) is None


def test_a_subnet_that_is_none_is_named_by_its_place() -> None:
    with pytest.raises(OpenNGTError, match="entry 2") as caught:
        networks(["10.0.0.0/8", "10.0.0.1/8"])
    assert caught.value.code == "INVALID_INPUT" and "10.0.0.1" not in caught.value.message


def test_who_shares_a_name_gets_digits_of_the_uuid() -> None:
    names, warnings = distinct_names({ONE: "web1", OTHER: "web1"})
    assert names == {ONE: "web1_6f1c0c2e", OTHER: "web1_6f1c0c2f"}
    assert len(warnings) == 1 and "web1" in warnings[0]
    # The eight digits may be shared, and a third VM may be called so: nobody gets the name of another.
    near = ONE[:-1] + "9"
    assert distinct_names({ONE: "web1", near: "web1"})[0] == {ONE: ONE, near: near}
    taken = distinct_names({ONE: "web1", OTHER: "web1", near[:-1] + "8": "web1_6f1c0c2e"})[0]
    assert len(set(taken.values())) == 3 and taken[OTHER] == "web1_6f1c0c2f"


@pytest.mark.parametrize(
    "name",
    ["localhost", "LOCALHOST", "127.0.0.1", "all", "../x", "a/b", "{{ 1 }}", "{% x", "a\nb", " ", "", "-e x", ".."],
)
def test_a_name_that_means_something_else_becomes_the_uuid(name: str) -> None:
    names, warnings = distinct_names({ONE: name})
    assert names == {ONE: ONE} and len(warnings) == 1 and "\n" not in warnings[0]


def test_vms_of_one_uuid_are_left_out_by_name() -> None:
    alone, warnings = without_twins([{"vm_uuid": ONE}, {"vm_uuid": ONE}, {"vm_uuid": OTHER}])
    assert alone == [{"vm_uuid": OTHER}]
    assert len(warnings) == 1 and ONE in warnings[0]
