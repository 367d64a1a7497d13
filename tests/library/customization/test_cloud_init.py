# SPDX-License-Identifier: GPL-3.0-or-later
"""What the disc of a Linux guest holds, for either datasource."""

import json
import random
from dataclasses import replace
from typing import Any

import pytest
import yaml

from openngt.customization.cloud_init import LARGEST_USER_DATA
from openngt.customization.media import build
from openngt.customization.model import Customization, GuestFile, Media, MediaVm, Script
from openngt.errors import OpenNGTError

VM = MediaVm("6f1c0c2e-9d3a-4d0e-8a55-0c6a1f0b7e21", "web1", "i-6f1c0c2e-9d3a-4d0e-8a55-0c6a1f0b7e21")
REPORTER = "#!/bin/sh\n: report\n"
NETWORK = {"version": 2, "ethernets": {"a": {"match": {"macaddress": "52:54:00:12:34:56"}, "dhcp4": True}}}
BIG = random.Random(5).randbytes(LARGEST_USER_DATA)
SCRIPT = Script(b"#cloud-config\nhostname: foobar\npackages: [httpd]\n", "web.cfg")


def content(media: Media) -> dict[str, bytes]:
    assert len({file.path for file in media.files}) == len(media.files)
    return {file.path: file.content for file in media.files}


def test_nocloud_has_its_four_files() -> None:
    media = build(Customization(options={"timezone": "UTC"}, network=NETWORK), VM, REPORTER)
    files = content(media)
    assert (media.label, list(files)) == ("cidata", ["user-data", "meta-data", "network-config", "vendor-data"])
    assert files["user-data"] == b"#cloud-config\ntimezone: UTC\n"
    assert yaml.safe_load(files["meta-data"]) == {"instance-id": VM.instance_id, "local-hostname": "web1"}
    assert yaml.safe_load(files["network-config"]) == NETWORK
    assert files["vendor-data"].decode() == REPORTER


def test_a_config_drive_has_openstacks_files() -> None:
    customization = Customization(datasource="config_drive", scripts=(Script(b"#!/bin/sh\n"),), network=NETWORK)
    media = build(customization, VM, REPORTER)
    files = {path.removeprefix("openstack/latest/"): text for path, text in content(media).items()}
    assert (media.label, set(files)) == (
        "config-2",
        {"user_data", "meta_data.json", "network_data.json", "vendor_data.json"},
    )
    assert files["user_data"] == b"#!/bin/sh\n"
    assert json.loads(files["meta_data.json"]) == {"uuid": VM.instance_id, "hostname": "web1"}
    assert json.loads(files["network_data.json"])["links"][0]["ethernet_mac_address"] == "52:54:00:12:34:56"
    assert json.loads(files["vendor_data.json"]) == {"cloud-init": REPORTER}


@pytest.mark.parametrize(("datasource", "expected"), [
    ("nocloud", {"user-data", "meta-data"}),
    ("config_drive", {"openstack/latest/user_data", "openstack/latest/meta_data.json"}),
])  # fmt: skip
def test_what_is_not_given_is_not_on_the_disc(datasource: Any, expected: set[str]) -> None:
    assert set(content(build(Customization(datasource=datasource), VM))) == expected


@pytest.mark.parametrize(
    ("vm_name", "options", "meta_data", "name"),
    [
        ("web1", {}, {}, "web1"),
        ("Web server (old)", {}, {}, None),
        ("web1", {"hostname": "db1"}, {}, "db1"),
        ("web1", {"hostname": "db1", "fqdn": "db1.example.com"}, {}, "db1.example.com"),
        ("web1", {"hostname": "db1"}, {"local-hostname": "own"}, "own"),
    ],
)
def test_the_host_name_is_the_options_or_the_vms(
    vm_name: str, options: dict[str, Any], meta_data: dict[str, Any], name: str | None
) -> None:
    customization = Customization(options=options, meta_data=meta_data)
    files = content(build(customization, VM._replace(vm_name=vm_name)))
    assert yaml.safe_load(files["meta-data"]).get("local-hostname") == name
    drive = content(build(replace(customization, datasource="config_drive"), VM._replace(vm_name=vm_name)))
    assert json.loads(drive["openstack/latest/meta_data.json"]).get("hostname") == name


def test_beside_scripts_settings_replace_and_lists_are_joined() -> None:
    options = {"hostname": "web1", "packages": ["vim"]}
    text = content(build(Customization(scripts=(SCRIPT,), options=options), VM))["user-data"].decode()
    script, settings, lists = text.split("Content-Type: text/cloud-config")[1:]
    assert SCRIPT.content.decode() in script
    assert "\n#cloud-config\nhostname: web1\n" in settings and "Merge-Type" not in settings
    assert "\n#cloud-config\npackages:\n- vim\n" in lists
    assert "\nMerge-Type: list(append)+dict(recurse_list)+str()\n" in lists


def test_the_same_customization_makes_the_same_media() -> None:
    customization = Customization(scripts=(SCRIPT, SCRIPT), options={"packages": ["vim"]}, network=NETWORK)
    assert build(customization, VM, REPORTER) == build(customization, VM, REPORTER)


def test_files_stand_in_the_user_data_while_they_fit() -> None:
    media = build(Customization(files=(GuestFile("/etc/motd", b"hello\n"),)), VM)
    config = yaml.safe_load(content(media)["user-data"])
    assert set(config) == {"write_files"}
    assert len(media.files) == 2


@pytest.mark.parametrize(
    ("datasource", "label", "place"),
    [("nocloud", "cidata", "files/"), ("config_drive", "config-2", "openstack/content/")],
)
def test_files_that_do_not_fit_lie_on_the_disc(datasource: Any, label: str, place: str) -> None:
    files = (GuestFile("/opt/it's big", BIG, "0600", "ann:ops"), GuestFile("/etc/motd", b"hello\n"))
    media = build(Customization(datasource=datasource, files=files, options={"packages": ["vim"]}), VM)
    found = content(media)
    assert (found[place + "0000"], found[place + "0001"]) == (BIG, b"hello\n")
    assert len(media.files[0].content) < 4096
    config = yaml.safe_load(media.files[0].content)
    assert f"/dev/disk/by-label/{label}\n" in config["bootcmd"][0]
    assert config["write_files"] == [
        {
            "path": "/opt/it's big",
            "content": "",
            "append": True,
            "permissions": "0600",
            "owner": "ann:ops",
            "defer": True,
        }
    ]
    assert config["packages"] == ["vim"]


@pytest.mark.parametrize(
    ("customization", "field"),
    [
        (Customization(format="word"), "format"),  # type: ignore[arg-type]
        (Customization(meta_data={"instance-id": "i-1"}), "meta_data.instance-id"),
        (Customization(options={"hostname": "web_1"}), "options.hostname"),
        (Customization(options={"interfaces": [{"mac": "52:54:00:12:34:56"}]}, network=NETWORK), "options.interfaces"),
        (Customization(files=(GuestFile("motd", b""),)), "files[0].path"),
        (Customization(scripts=(SCRIPT, Script(b"\x1f\x8b"))), "scripts[1]"),
        (Customization(datasource="config_drive", network={"version": 2, "vlans": {}}), "network.vlans"),
    ],
)
def test_what_cannot_be_built_is_named(customization: Customization, field: str) -> None:
    with pytest.raises(OpenNGTError) as caught:
        build(customization, VM)
    assert (caught.value.code, caught.value.details) == ("INVALID_INPUT", {"field": field})
