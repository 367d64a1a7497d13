# SPDX-License-Identifier: GPL-3.0-or-later
"""Addresses by MAC become network config version 2, and that a config drive's network_data.json."""

from typing import Any

import pytest

from openngt.customization.cloud_config import network_of
from openngt.customization.network_config import network_data, unwrapped
from openngt.errors import OpenNGTError

MAC = "52:54:00:12:34:56"
FULL: dict[str, Any] = {
    "mac": "52-54-00-12-34-AB",
    "name": "lan0",
    "dhcp4": False,
    "dhcp6": False,
    "addresses": ["192.0.2.10/24", "2001:db8::10/64"],
    "gateway4": "192.0.2.1",
    "gateway6": "2001:db8::1",
    "nameservers": ["192.0.2.53"],
    "search": ["example.com"],
    "mtu": 1400,
    "routes": [{"to": "198.51.100.0/24", "via": "192.0.2.2"}],
}


def test_an_interface_is_met_by_its_mac_and_keeps_its_name_unless_it_gets_one() -> None:
    assert network_of({"interfaces": [FULL, {"mac": MAC, "dhcp4": True}]}) == {
        "version": 2,
        "ethernets": {
            "nic0": {
                "match": {"macaddress": "52:54:00:12:34:ab"},
                "set-name": "lan0",
                "dhcp4": False,
                "dhcp6": False,
                "mtu": 1400,
                "addresses": ["192.0.2.10/24", "2001:db8::10/64"],
                "gateway4": "192.0.2.1",
                "gateway6": "2001:db8::1",
                "routes": [{"to": "198.51.100.0/24", "via": "192.0.2.2"}],
                "nameservers": {"addresses": ["192.0.2.53"], "search": ["example.com"]},
            },
            "nic1": {"match": {"macaddress": MAC}, "dhcp4": True},
        },
    }


@pytest.mark.parametrize(
    ("interface", "field"),
    [
        ({"mac": "52:54:00:12:34"}, ".mac"),
        ({"mac": MAC}, ".mac"),
        ({"name": "a name"}, ".name"),
        ({"name": "taken"}, ".name"),
        ({"addresses": ["192.0.2.10"]}, ".addresses[0]"),
        ({"addresses": ["192.0.2.300/24"]}, ".addresses[0]"),
        ({"gateway4": "2001:db8::1"}, ".gateway4"),
        ({"gateway6": "192.0.2.1"}, ".gateway6"),
        ({"nameservers": ["dns.example.com"]}, ".nameservers[0]"),
        ({"search": ["example com"]}, ".search[0]"),
        ({"mtu": 67}, ".mtu"),
        ({"routes": [{"to": "198.51.100.1/24", "via": "192.0.2.1"}]}, ".routes[0].to"),
        ({"routes": [{"to": "::/0", "via": "2001:db8::1"}]}, ".routes[0].to"),
        ({"routes": [{"to": "198.51.100.0/24"}]}, ".routes[0].via"),
    ],
)
def test_what_no_interface_can_have_is_named(interface: dict[str, Any], field: str) -> None:
    interfaces = [{"mac": MAC, "name": "taken"}, {"mac": "52:54:00:00:00:01", **interface}]
    with pytest.raises(OpenNGTError) as caught:
        network_of({"interfaces": interfaces})
    assert (caught.value.code, caught.value.details) == ("INVALID_INPUT", {"field": "options.interfaces[1]" + field})


def test_a_config_drive_says_all_that_the_options_can_say() -> None:
    network = network_of({"interfaces": [FULL, {"mac": MAC, "dhcp4": True, "dhcp6": True}]})
    assert network is not None
    dns = {"dns_nameservers": ["192.0.2.53"], "dns_search": ["example.com"]}
    assert network_data(network) == {
        "links": [
            {"id": "nic0", "type": "phy", "ethernet_mac_address": "52:54:00:12:34:ab", "name": "lan0", "mtu": 1400},
            {"id": "nic1", "type": "phy", "ethernet_mac_address": MAC},
        ],
        "networks": [
            {
                "id": "nic0-0",
                "link": "nic0",
                "type": "ipv4",
                "ip_address": "192.0.2.10",
                "netmask": "255.255.255.0",
                "routes": [
                    {"network": "0.0.0.0", "netmask": "0.0.0.0", "gateway": "192.0.2.1"},
                    {"network": "198.51.100.0", "netmask": "255.255.255.0", "gateway": "192.0.2.2"},
                ],
                **dns,
            },
            {
                "id": "nic0-1",
                "link": "nic0",
                "type": "ipv6",
                "ip_address": "2001:db8::10",
                "netmask": "ffff:ffff:ffff:ffff::",
                "routes": [{"network": "::", "netmask": "::", "gateway": "2001:db8::1"}],
                **dns,
            },
            {"id": "nic1-0", "link": "nic1", "type": "ipv4_dhcp"},
            {"id": "nic1-1", "link": "nic1", "type": "ipv6_dhcp"},
        ],
        "services": [{"type": "dns", "address": "192.0.2.53"}],
    }


def test_cloud_init_is_told_the_gateway_of_each_ip_version_rather_than_a_default_route() -> None:
    network = network_of({"interfaces": [FULL]})
    assert network is not None
    [four, six] = network_data(network, gateways=True)["networks"]
    assert (four["gateway"], [route["network"] for route in four["routes"]]) == ("192.0.2.1", ["198.51.100.0"])
    assert (six["gateway"], "routes" in six) == ("2001:db8::1", False)


MATCH = {"match": {"macaddress": MAC}}


@pytest.mark.parametrize(
    ("network", "field"),
    [
        ({"version": 1, "config": []}, "network.config"),
        ({"version": 1}, "network.version"),
        ({"version": 2, "bonds": {"bond0": {}}}, "network.bonds"),
        ({"version": 2, "ethernets": []}, "network.ethernets"),
        ({"version": 2, "ethernets": {"a": None}}, "network.ethernets.a"),
        ({"version": 2, "ethernets": {"a": {"dhcp4": True}}}, "network.ethernets.a.match"),
        ({"version": 2, "ethernets": {"a": {"match": {"driver": "virtio_net"}}}}, "network.ethernets.a.match"),
        ({"version": 2, "ethernets": {"a": {**MATCH, "optional": True}}}, "network.ethernets.a.optional"),
        ({"version": 2, "ethernets": {"a": {**MATCH, "addresses": ["192.0.2.1"]}}}, "network.ethernets.a.addresses[0]"),
        ({"version": 2, "ethernets": {"a": {**MATCH, "addresses": "192.0.2.1/24"}}}, "network.ethernets.a.addresses"),
        ({"version": 2, "ethernets": {"a": {**MATCH, "gateway4": "192.0.2.1"}}}, "network.ethernets.a.routes"),
        ({"version": 2, "ethernets": {"a": {**MATCH, "gateway4": "web1"}}}, "network.ethernets.a.gateway4"),
        (
            {"version": 2, "ethernets": {"a": {**MATCH, "nameservers": {"search": ["example.com"]}}}},
            "network.ethernets.a.nameservers.search",
        ),
        (
            {
                "version": 2,
                "ethernets": {"a": {**MATCH, "routes": [{"to": "default", "via": "192.0.2.1", "metric": 5}]}},
            },
            "network.ethernets.a.routes[0].metric",
        ),
        (
            {"version": 2, "ethernets": {"a": {**MATCH, "routes": [{"to": "::/0", "via": "192.0.2.1"}]}}},
            "network.ethernets.a.routes[0]",
        ),
    ],
)
def test_what_a_config_drive_cannot_say_is_refused_by_name(network: dict[str, Any], field: str) -> None:
    with pytest.raises(OpenNGTError) as caught:
        network_data(network)
    assert (caught.value.code, caught.value.details) == ("INVALID_INPUT", {"field": field})


def test_netplans_wrapping_is_taken_off() -> None:
    plain = {"version": 2, "ethernets": {}}
    assert unwrapped({"network": plain}) == unwrapped(plain) == plain
