# SPDX-License-Identifier: GPL-3.0-or-later
"""What is found in a customization before anything is written: the code, the line, the key, and the right spelling."""

import gzip
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openngt.customization.findings import CODES
from openngt.customization.model import Customization, Finding, GuestFile, Script
from openngt.customization.user_data import FIRST_WORDS
from openngt.customization.validation import validate
from openngt_service.customization.schema_files import published_schemas

SEED = b"""#cloud-config

# Set hostname
hostname: foobar

# Add user(s)
users:
  - name: nutanix
    sudo: ['ALL=(ALL) NOPASSWD:ALL']
    ssh-authorized-keys:
      - ssh-rsa: PUBKEY
lock-passwd: false
passwd: PASSWORD

# Automatically update all of the packages
package_upgrade: true
package_reboot_if_required: true

# Install the LAMP stack
packages:
- httpd
- mariadb-server
- php
- php-pear
- php-mysql

# Run Commands after execution
runcmd:
- systemctl enable httpd
"""
"""The example of the original's documentation, as it stands there."""

CORRECTED = b"""#cloud-config
hostname: foobar
users:
  - name: nutanix
    sudo: ['ALL=(ALL) NOPASSWD:ALL']
    ssh_authorized_keys:
      - ssh-rsa PUBKEY
    lock_passwd: false
    passwd: $6$salt$hash
package_upgrade: true
package_reboot_if_required: true
packages: [httpd, mariadb-server, php, php-pear, php-mysql]
runcmd:
- systemctl enable httpd
"""


def found(content: bytes, **more: Any) -> list[Finding]:
    return validate(Customization(scripts=(Script(content),), **more), published_schemas())


def told(content: bytes) -> list[tuple[str, int | None, str]]:
    return [(item.code, item.line, item.key) for item in found(content)]


def test_the_originals_own_example_is_told_each_of_its_mistakes_with_the_right_spelling() -> None:
    findings = found(SEED)
    assert [(item.code, item.line, item.key, item.remedy) for item in findings] == [
        ("MISSPELT_KEY", 10, "users.0.ssh-authorized-keys", "write ssh_authorized_keys"),
        (
            "BAD_VALUE",
            11,
            "users.0.ssh-authorized-keys.0",
            "write each key as one text, without the colon: - ssh-rsa AAAA… name",
        ),
        ("MISSPELT_KEY", 12, "lock-passwd", "indent it below an item of users, as lock_passwd"),
        (
            "BAD_KEY",
            13,
            "passwd",
            "indent it below an item of users, as passwd; give a hash, as openssl passwd -6 makes it; "
            "a password in clear goes under plain_text_passwd",
        ),
    ]
    assert not any("PASSWORD" in str(item) or "PUBKEY" in str(item) for item in findings)


def test_corrected_as_it_was_told_nothing_is_left() -> None:
    assert found(CORRECTED) == []


@pytest.mark.parametrize(
    ("line", "code", "key", "remedy"),
    [
        ("hostnam: web1", "MISSPELT_KEY", "hostnam", "write hostname"),
        ("run-cmd: [ls]", "MISSPELT_KEY", "run-cmd", "write runcmd"),
        ("apt_upgrade: true", "DEPRECATED_KEY", "apt_upgrade", "use package_upgrade instead"),
        ("packages: nginx", "BAD_VALUE", "packages", CODES["BAD_VALUE"]),
        ("zebra: 1", "BAD_KEY", "zebra", CODES["BAD_KEY"]),
        ("users: [{name: a, runcmd: [ls]}]", "BAD_KEY", "users.0.runcmd", "move it out of users.0"),
        ("users: [{name: a, lock-passwd: true}]", "MISSPELT_KEY", "users.0.lock-passwd", "write lock_passwd"),
        ("write_files: [{content: x}]", "MISSING_KEY", "write_files.0", "add path"),
        ("password: secret", "SECRET_IN_CLEAR", "password", CODES["SECRET_IN_CLEAR"]),
        ("ssh_genkeytypes: [dsa]", "BAD_VALUE", "ssh_genkeytypes.0", CODES["BAD_VALUE"]),
        ("swap: {size: 10X}", "BAD_VALUE", "swap.size", CODES["BAD_VALUE"]),
    ],
)
def test_a_key_is_told_with_its_line_and_what_to_do(line: str, code: str, key: str, remedy: str) -> None:
    [item] = found(f"#cloud-config\nlocale: C.UTF-8\n{line}\n".encode())
    assert (item.code, item.line, item.key, item.remedy) == (code, 3, key, remedy)
    assert "secret" not in str(item)


@pytest.mark.parametrize(
    "content",
    [
        b"#cloud-config\nusers: [default, {name: a, expiredate: 2030-01-01}]\n",
        b"#cloud-config\nwrite_files:\n- {path: /a, encoding: b64, content: !!binary aGk=}\n",
        b"#cloud-config\nx: &x [a]\n".replace(b"x: &x [a]", b"packages: &x [a]\nbootcmd: *x"),
        b"#cloud-config\r\nhostname: web1\r\n",
        b"#cloud-config\nsnap: {commands: {00: snap install x}}\n",
        b"#!/bin/sh\ntrue\n",
        b"#! /usr/bin/env python3\n",
        b"#include\nhttp://example.com/1\n# a remark\nhttps://[2001:db8::1]:8443/2?a=b\nfile:///srv/x\n",
        b"#include-once\nhttp://example.com/1\n",
        b"#cloud-boothook\n#!/bin/sh\ntrue\n",
        b"#part-handler\ndef list_types(): return []\ndef handle_part(*a): pass\n",
        b"## template: jinja\n#cloud-config\nhostname: {{ v1.local_hostname }}\n",
        b"## template: jinja\n#!/bin/sh\n{% if v1.region %}\ntrue\n{% endif %}\n",
        b'#cloud-config-archive\n- "#!/bin/sh"\n- {type: text/cloud-config, content: "hostname: a"}\n',
        b'#cloud-config-jsonp\n[{"op": "add", "path": "/a", "value": 1}]\n',
        gzip.compress(b"#cloud-config\nhostname: web1\n", mtime=0),
    ],
)
def test_what_cloud_init_takes_is_taken(content: bytes) -> None:
    assert found(content) == []


def test_each_part_of_a_message_is_looked_at() -> None:
    message = (
        b"MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=B\n\n"
        b"--B\nContent-Type: text/cloud-config\n\nhostnam: a\n"
        b"--B\nContent-Type: text/x-shellscript\n\n#!/bin/sh\r\ntrue\n"
        b"--B\nContent-Type: text/plain\n\n#include\nhttp:/a\n--B--\n"
    )
    assert [(item.part, item.code) for item in found(message)] == [
        ("scripts[0] part 1", "MISSPELT_KEY"),
        ("scripts[0] part 2", "CRLF"),
        ("scripts[0] part 3", "BAD_INCLUDE"),
    ]


def test_a_name_of_a_script_stands_in_its_findings() -> None:
    customization = Customization(scripts=(Script(b"#!sh\n", "first.sh"),))
    [item] = validate(customization, published_schemas())
    assert (item.part, item.code) == ("scripts[0] (first.sh)", "BAD_SHEBANG")


NETWORK = {
    "version": 2,
    "ethernets": {
        "lan": {
            "match": {"macaddress": "52:54:00:12:34:56"},
            "addresses": ["192.0.2.21/24", "2001:db8::21/64"],
            "gateway4": "192.0.2.1",
            "nameservers": {"addresses": ["192.0.2.53"], "search": ["example.com"]},
            "routes": [{"to": "198.51.100.0/24", "via": "192.0.2.254"}, {"to": "default", "via": "192.0.2.1"}],
        }
    },
}


def of_network(network: dict[str, Any]) -> list[tuple[str, str]]:
    return [(f.code, f.key) for f in validate(Customization(network=network), published_schemas())]


def test_a_network_is_taken_with_and_without_netplans_key_around_it() -> None:
    assert of_network(NETWORK) == []
    assert of_network({"network": NETWORK}) == []


@pytest.mark.parametrize(
    ("change", "code", "key"),
    [
        ({"match": {"macaddress": "52-54-00-12-34-56"}}, "BAD_ADDRESS", "match.macaddress"),
        ({"match": {"mac": "52:54:00:12:34:56"}}, "BAD_KEY", "match.mac"),
        ({"addresses": ["192.0.2.21"]}, "BAD_ADDRESS", "addresses.0"),
        ({"addresses": "192.0.2.21/24"}, "BAD_VALUE", "addresses"),
        ({"addresses": [1]}, "BAD_VALUE", "addresses.0"),
        ({"gateway4": "2001:db8::1"}, "BAD_ADDRESS", "gateway4"),
        ({"nameservers": {"addresses": ["dns"]}}, "BAD_ADDRESS", "nameservers.addresses.0"),
        ({"routes": [{"via": "192.0.2.1"}]}, "MISSING_KEY", "routes.0"),
        ({"routes": [{"to": "here", "via": "192.0.2.1"}]}, "BAD_ADDRESS", "routes.0.to"),
        ({"dhcp4": "maybe"}, "BAD_VALUE", "dhcp4"),
    ],
)
def test_a_networks_mistake_is_told_by_its_key(change: dict[str, Any], code: str, key: str) -> None:
    assert of_network({"version": 2, "ethernets": {"lan": change}}) == [(code, f"ethernets.lan.{key}")]


def test_only_version_2_of_a_network_is_taken() -> None:
    assert of_network({"version": 1, "config": []}) == [("BAD_VALUE", "version")]
    assert of_network({"ethernets": {}}) == [("MISSING_KEY", "version")]


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/etc/motd", None),
        ("/opt/my app/ä.txt", None),
        ("etc/motd", "BAD_FILE_PATH"),
        ("/etc/../shadow", "BAD_FILE_PATH"),
        ("/etc/./motd", "BAD_FILE_PATH"),
        ("/etc//motd", "BAD_FILE_PATH"),
        ("/etc/", "BAD_FILE_PATH"),
        ("/", "BAD_FILE_PATH"),
        ("", "BAD_FILE_PATH"),
        ("/etc/mo\0td", "BAD_FILE_PATH"),
        ("/etc/mo\ntd", "BAD_FILE_PATH"),
        ("/proc/sysrq-trigger", "BAD_FILE_PATH"),
        ("/sys/power/state", "BAD_FILE_PATH"),
        ("/dev/sda", "BAD_FILE_PATH"),
        ("/devices/a", None),
        ("/" + "a" * 256, "BAD_FILE_PATH"),
    ],
)
def test_paths_of_files(path: str, code: str | None) -> None:
    findings = validate(Customization(files=(GuestFile(path, b""),)), published_schemas())
    assert [item.code for item in findings] == ([] if code is None else [code])


def test_a_path_stands_once_and_is_no_folder_of_another() -> None:
    files = tuple(GuestFile(path, b"") for path in ("/a/b", "/a/b", "/a/b/c"))
    findings = validate(Customization(files=files), published_schemas())
    assert [(item.code, item.part) for item in findings] == [
        ("DUPLICATE_PATH", "files[1]"),
        ("DUPLICATE_PATH", "files[2]"),
    ]


def test_sizes_as_the_originals_api_limits_them() -> None:
    shell = b"#!/bin/sh\n"
    assert told(shell + b"#" * (128_000 - len(shell))) == []
    assert told(shell + b"#" * (128_001 - len(shell))) == [("TOO_LARGE", None, "")]
    two = Customization(scripts=(Script(shell + b"#" * 64_000), Script(shell + b"#" * 64_000)))
    assert [(item.code, item.part) for item in validate(two, published_schemas())] == [("TOO_LARGE", "user-data")]
    meta_data = Customization(meta_data={"a": "x" * 32_000})
    assert [(item.code, item.part) for item in validate(meta_data, published_schemas())] == [("TOO_LARGE", "meta_data")]


LINES = [f"cmd.exe /c echo {number:0999}" for number in range(32)]
TOO_MUCH: dict[str, tuple[dict[str, Any], str, str]] = {
    "an answer file": ({"format": "sysprep", "options": {"first_logon_commands": LINES}}, "options", "answer file"),
    "user data": (
        {"format": "cloudbase_init", "files": (GuestFile("C:\\a.bin", b"x" * 96_000),)},
        "user_data",
        "128000",
    ),
}


@pytest.mark.parametrize("case", TOO_MUCH.values(), ids=TOO_MUCH.keys())
def test_what_is_too_large_once_it_is_built_for_windows_is_found_before(case: tuple[dict[str, Any], str, str]) -> None:
    given, part, words = case
    errors = [item for item in validate(Customization(**given), published_schemas()) if item.severity == "error"]
    assert [(item.code, item.part) for item in errors] == [("TOO_LARGE", part)]
    assert words in errors[0].message and errors[0].remedy


@pytest.mark.parametrize(
    ("options", "severity", "code", "key"),
    [
        ({"hostname": "no name"}, "error", "BAD_OPTION", "hostname"),
        ({"users": [{"name": "eva", "uid": "x"}]}, "error", "BAD_OPTION", "users[0].uid"),
        ({"users": [{"name": "eva", "password": "hunter2"}]}, "warning", "SECRET_IN_CLEAR", "users.0.password"),
    ],
)
def test_options_are_held_to_their_table(options: dict[str, Any], severity: str, code: str, key: str) -> None:
    [item] = validate(Customization(options=options), published_schemas())
    assert (item.severity, item.code, item.part, item.key) == (severity, code, "options", key)
    assert "hunter2" not in str(item)


def test_an_option_that_is_misspelt_is_told_the_one_that_was_meant() -> None:
    [item] = validate(Customization(options={"host-nam": "web1"}), published_schemas())
    assert (item.code, item.message) == ("BAD_OPTION", "has no option 'host-nam'; did you mean hostname?")
    [item] = validate(Customization(options={"colour": "red"}), published_schemas())
    assert "there are: fqdn, groups, hostname" in item.message


def test_every_code_has_a_remedy_and_every_finding_a_code_of_the_catalogue() -> None:
    assert all(code.isupper() and remedy for code, remedy in CODES.items())


STARTS = st.sampled_from([b"", b"\x1f\x8b\x08", b"MIME-Version: 1.0\n", *(word.encode() for word in FIRST_WORDS)])
YAML = st.lists(st.sampled_from("a b:-[]{}&*!|>'\"#%@`,?\t\n<\\"), max_size=60).map(lambda all_: "".join(all_).encode())
KEYS = st.sampled_from(sorted(published_schemas().top_level))
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8) | KEYS, inner, max_size=3),
    max_leaves=8,
)


@given(STARTS, st.binary(max_size=200) | YAML, st.sampled_from(["cloud_init", "sysprep", "cloudbase_init"]))
def test_whatever_bytes_go_in_findings_come_out(start: bytes, rest: bytes, kind: Any) -> None:
    """T28: no other error, for no input."""
    for item in found(start + b"\n" + rest, format=kind):
        assert item.code in CODES
        assert item.line is None or item.line >= 1


@given(st.dictionaries(KEYS, PLAIN, max_size=4), st.dictionaries(st.text(max_size=8), PLAIN, max_size=3))
def test_whatever_value_stands_under_a_key_findings_come_out(config: dict[str, Any], network: dict[str, Any]) -> None:
    content = b"#cloud-config\n" + json.dumps(config).encode()
    for item in found(content, network={"version": 2, "ethernets": network}):
        assert item.code in CODES
