# SPDX-License-Identifier: GPL-3.0-or-later
"""Options become a cloud-config that a YAML reader reads as it was meant; what is wrong is named, never told."""

import base64
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from openngt.customization.carried_files import copy_config
from openngt.customization.cloud_config import (
    OPTIONS,
    check_files,
    cloud_config,
    network_of,
    rendered,
    written_file,
)
from openngt.customization.model import GuestFile
from openngt.customization.options import Option
from openngt.errors import OpenNGTError

SCHEMAS = Path(__file__).resolve().parents[3] / "src/openngt_service/customization/schemas"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0 ann@example.com"
RULE = "ALL=(web) NOPASSWD: /bin/ls"
HASH = "$6$rounds=4096$salt$0123456789abcdef./"


EVERY: dict[str, Any] = {
    "hostname": "web1",
    "fqdn": "web1.example.com",
    "timezone": "Europe/Zurich",
    "locale": "en_US.UTF-8",
    "groups": ["ops"],
    "users": [{"name": "ann", "gecos": "Ann", "groups": ["ops", "adm"], "shell": "/bin/bash", "sudo": True}],
    "ssh_authorized_keys": [KEY],
    "ssh_pwauth": False,
    "ntp_servers": ["192.0.2.123"],
    "package_update": True,
    "package_upgrade": True,
    "package_reboot_if_required": False,
    "packages": ["vim", "nginx=1.22*"],
    "runcmd": ["systemctl enable nginx", ["touch", "/run/a b"]],
    "interfaces": [{"mac": "52:54:00:12:34:56", "dhcp4": True}],
}


def test_every_option_has_its_place() -> None:
    assert set(EVERY) == {option.name for option in OPTIONS}
    config = yaml.safe_load(rendered(cloud_config(EVERY)))
    expected: dict[str, Any] = {key: value for key, value in EVERY.items() if key not in ("ntp_servers", "interfaces")}
    expected["users"] = ["default", {**EVERY["users"][0], "sudo": "ALL=(ALL) NOPASSWD:ALL"}]
    expected["ntp"] = {"enabled": True, "servers": ["192.0.2.123"]}
    assert config == expected


def test_cloud_inits_own_schema_has_nothing_to_say_of_every_option() -> None:
    schema = json.loads((SCHEMAS / "schema-cloud-config-v1.json").read_text())
    users = [
        *EVERY["users"],
        {"name": "bob", "password": "first", "sudo": [RULE, RULE], "uid": 1500, "primary_group": "ops"},
        {"name": "eve", "password_hash": HASH, "homedir": "/srv/eve", "system": True},
    ]
    files = [GuestFile("/etc/motd", b"hello\n"), GuestFile("/opt/b", b"\xff", "0600", "ann:ops")]
    config = cloud_config({**EVERY, "users": users})
    for whole in (
        config | {"write_files": list(map(written_file, files))},
        config | copy_config({f"files/{number}": file for number, file in enumerate(files)}, "cidata"),
    ):
        assert [error.message for error in jsonschema.Draft4Validator(schema).iter_errors(whole)] == []


def test_cloud_inits_own_schema_has_nothing_to_say_of_the_network() -> None:
    schema = json.loads((SCHEMAS / "schema-network-config-v2.json").read_text())
    mac = "52:54:00:12:34:56"
    interface = {
        "mac": mac,
        "name": "lan0",
        "dhcp4": False,
        "dhcp6": True,
        "addresses": ["192.0.2.10/24", "2001:db8::10/64"],
        "gateway4": "192.0.2.1",
        "gateway6": "2001:db8::1",
        "nameservers": ["192.0.2.53"],
        "search": ["example.com"],
        "mtu": 1400,
        "routes": [{"to": "198.51.100.0/24", "via": "192.0.2.2"}],
    }
    network = network_of({"interfaces": [interface]})
    assert [error.message for error in jsonschema.Draft4Validator(schema).iter_errors(network)] == []


def test_no_options_are_no_cloud_config() -> None:
    assert cloud_config({}) == {}
    assert cloud_config({"hostname": None, "packages": [], "users": []}) == {}
    assert network_of({}) is None


def test_the_images_own_user_is_made_only_for_keys_of_its_own() -> None:
    assert cloud_config({"users": [{"name": "ann"}]})["users"] == [{"name": "ann"}]
    assert "users" not in cloud_config({"ssh_authorized_keys": [KEY]})


@pytest.mark.parametrize(
    ("user", "written", "expires"),
    [
        ({"password": "a: b"}, {"plain_text_passwd": "a: b", "lock_passwd": False}, True),
        ({"password": "a", "change_password": False}, {"plain_text_passwd": "a", "lock_passwd": False}, False),
        ({"password_hash": HASH}, {"hashed_passwd": HASH, "lock_passwd": False}, False),
        ({"password_hash": HASH, "change_password": True}, {"hashed_passwd": HASH, "lock_passwd": False}, True),
        ({"lock_passwd": False}, {"lock_passwd": False}, False),
        ({"sudo": False}, {}, False),
        ({"sudo": [RULE, RULE]}, {"sudo": [RULE, RULE]}, False),
    ],
)
def test_a_plain_password_is_changed_at_the_first_login_unless_it_is_not_to_be(
    user: dict[str, Any], written: dict[str, Any], expires: bool
) -> None:
    config = cloud_config({"users": [{"name": "ann", **user}], "runcmd": ["true"]})
    assert config["users"] == [{"name": "ann", **written}]
    assert config["runcmd"] == [*([["passwd", "--expire", "ann"]] if expires else []), "true"]


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ([], "options"),
        ({"hostnam": "web1"}, "options"),
        ({"hostname": 1}, "options.hostname"),
        ({"hostname": "web_1"}, "options.hostname"),
        ({"hostname": "web1.example.com"}, "options.hostname"),
        ({"hostname": "web1\n"}, "options.hostname"),
        ({"fqdn": "web1"}, "options.fqdn"),
        ({"fqdn": "web1..example.com"}, "options.fqdn"),
        ({"timezone": "../etc"}, "options.timezone"),
        ({"locale": "en US"}, "options.locale"),
        ({"groups": "ops"}, "options.groups"),
        ({"groups": ["a,b"]}, "options.groups[0]"),
        ({"users": ["ann"]}, "options.users[0]"),
        ({"users": [{}]}, "options.users[0].name"),
        ({"users": [{"name": "default"}]}, "options.users[0].name"),
        ({"users": [{"name": "Ann Example"}]}, "options.users[0].name"),
        ({"users": [{"name": "ann"}, {"name": "ann"}]}, "options.users[1].name"),
        ({"ssh_authorized_keys": ["-----BEGIN OPENSSH PRIVATE KEY-----\nhunter2\n"]}, "options.ssh_authorized_keys[0]"),
        ({"ssh_authorized_keys": ["/home/ann/.ssh/id.pub"]}, "options.ssh_authorized_keys[0]"),
        ({"ntp_servers": ["a b"]}, "options.ntp_servers[0]"),
        ({"package_update": "yes"}, "options.package_update"),
        ({"packages": ["--allow-unauthenticated"]}, "options.packages[0]"),
        ({"runcmd": "true"}, "options.runcmd"),
        ({"runcmd": [["sleep", 5]]}, "options.runcmd[0]"),
        ({"runcmd": [[]]}, "options.runcmd[0]"),
        ({"interfaces": [{"addresses": ["192.0.2.10/24"]}]}, "options.interfaces[0].mac"),
    ],
)
def test_bad_input_is_named_and_its_value_is_not_told(options: Any, field: str) -> None:
    refused(options, field)


def refused(options: Any, field: str) -> None:
    with pytest.raises(OpenNGTError) as caught:
        cloud_config(options)
    assert (caught.value.code, caught.value.details) == ("INVALID_INPUT", {"field": field})
    assert caught.value.message.startswith(field + " ")
    assert "hunter2" not in caught.value.message


@pytest.mark.parametrize(
    ("user", "field"),
    [
        ({"passwd": HASH}, ""),
        ({"gecos": "a:b"}, ".gecos"),
        ({"uid": True}, ".uid"),
        ({"uid": -1}, ".uid"),
        ({"shell": "bash"}, ".shell"),
        ({"sudo": "ALL\nroot ALL"}, ".sudo"),
        ({"sudo": {}}, ".sudo"),
        ({"ssh_authorized_keys": [{"ssh-rsa": "PUBKEY"}]}, ".ssh_authorized_keys[0]"),
        ({"system": True, "ssh_authorized_keys": [KEY]}, ".ssh_authorized_keys"),
        ({"password": ""}, ".password"),
        ({"password": "a\nroot:b"}, ".password"),
        ({"password": "hunter2", "password_hash": HASH}, ".password_hash"),
        ({"password_hash": "hunter2"}, ".password_hash"),
        ({"password": "hunter2", "lock_passwd": True}, ".lock_passwd"),
        ({"change_password": True}, ".change_password"),
    ],
)
def test_bad_input_about_a_user_is_named_and_its_value_is_not_told(user: dict[str, Any], field: str) -> None:
    refused({"users": [{"name": "ann", **user}]}, "options.users[0]" + field)


def test_the_table_is_written_for_an_argument_specification() -> None:
    def walk(table: tuple[Option, ...]) -> None:
        assert len({option.name for option in table}) == len(table)
        for option in table:
            assert option.description.endswith("."), option.name
            assert not option.options or "dict" in (option.type, option.elements), option.name
            walk(option.options)

    walk(OPTIONS)


@given(st.text())
def test_any_text_comes_back_from_the_yaml_as_it_was(text: str) -> None:
    value = {"one": text, "many": [text, {"deep": text + "\n" + text}], text: [text]}
    assert yaml.safe_load(rendered(value)) == value


@given(st.binary() | st.text().map(str.encode))
def test_a_files_content_comes_back_from_its_entry_as_it_was(content: bytes) -> None:
    entry = yaml.safe_load(rendered({"write_files": [written_file(GuestFile("/a", content))]}))["write_files"][0]
    read = entry["content"].encode() if "encoding" not in entry else base64.b64decode(entry["content"])
    assert read == content


def test_text_stands_in_the_cloud_config_for_a_person_to_read() -> None:
    text = rendered({"write_files": [written_file(GuestFile("/etc/motd", "Grüezi\n  all\n".encode()))]})
    assert "  content: |\n    Grüezi\n      all\n" in text


def test_a_file_is_written_with_its_mode_and_late_when_another_owns_it() -> None:
    entry = written_file(GuestFile("/a", b"1", "600"))
    assert entry == {"path": "/a", "permissions": "0600", "owner": "root:root", "content": "1"}
    assert written_file(GuestFile("/a", b"\xff", "4755", "ann:ops")) == {
        "path": "/a",
        "permissions": "4755",
        "owner": "ann:ops",
        "encoding": "b64",
        "content": "/w==",
        "defer": True,
    }


@pytest.mark.parametrize(
    ("file", "field"),
    [
        (GuestFile("etc/motd", b""), "path"),
        (GuestFile("/etc/../motd", b""), "path"),
        (GuestFile("/etc/", b""), "path"),
        (GuestFile("/etc//motd", b""), "path"),
        (GuestFile("/a\nb", b""), "path"),
        (GuestFile("/a", b"", "rw"), "mode"),
        (GuestFile("/a", b"", "0888"), "mode"),
        (GuestFile("/a", b"", "0644", "root:"), "owner"),
        (GuestFile("/a", b"", "0644", "a b"), "owner"),
        (GuestFile("/there", b""), "path"),
    ],
)
def test_a_file_that_no_guest_can_take_is_refused(file: GuestFile, field: str) -> None:
    with pytest.raises(OpenNGTError) as caught:
        check_files([GuestFile("/there", b""), file])
    assert (caught.value.code, caught.value.details) == ("INVALID_INPUT", {"field": f"files[1].{field}"})
