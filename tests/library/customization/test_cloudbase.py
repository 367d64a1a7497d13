# SPDX-License-Identifier: GPL-3.0-or-later
"""Discs for Cloudbase-Init, read by the rules of its own source. No real Windows is met here."""

import base64
import email
import json
from typing import Any

import pytest
import yaml
from tests.fakes import powershell
from tests.library.customization.answer_file_cases import PASSWORD, VM

from openngt.customization.cloudbase import build_cloudbase
from openngt.customization.cloudbase_reference import CLOUD_CONFIG_KEYS, kind_of
from openngt.customization.media import build
from openngt.customization.model import Customization, GuestFile, MediaVm, Script
from openngt.customization.preview import preview
from openngt.customization.wanted_network import wanted_network
from openngt.errors import OpenNGTError

SCRIPT = Script(b"#ps1_sysnative\nWrite-Output '\xc3\xa4'\n", "first.ps1")


def disc(*, vm: MediaVm = VM, **how: Any) -> dict[str, bytes]:
    media = build_cloudbase(Customization(format="cloudbase_init", **how), vm)
    assert media.label == {"nocloud": "cidata", "config_drive": "config-2"}[how.get("datasource", "nocloud")]
    return {file.path: file.content for file in media.files}


def parts(user_data: bytes) -> list[tuple[str, str, bytes]]:
    """(type, file name, content), as `UserDataPlugin` and its plugins take them: only scripts are decoded."""
    assert user_data.startswith(b"Content-Type: multipart"), "how it is recognised"
    found = []
    for part in email.message_from_string(user_data.decode()).walk():
        if part.get_content_type() == "text/x-shellscript":
            found.append(("script", str(part.get_filename()), bytes(part.get_payload(decode=True))))
        elif part.get_content_type() == "text/cloud-config":
            found.append(("config", str(part.get_filename()), str(part.get_payload()).encode()))
    return found


def refused(**how: Any) -> str:
    with pytest.raises(OpenNGTError) as caught:
        disc(**how)
    assert caught.value.code == "INVALID_INPUT" and PASSWORD not in caught.value.message
    return caught.value.message


def test_one_script_is_the_user_data_byte_for_byte() -> None:
    assert disc(scripts=(SCRIPT,))["user-data"] == SCRIPT.content
    assert disc(scripts=(SCRIPT,), datasource="config_drive")["openstack/latest/user_data"] == SCRIPT.content


def test_several_are_one_message_that_its_reader_takes_apart() -> None:
    config = Script("#cloud-config\nhostname: läufer\nFrom: x\n".encode())
    scripts = (SCRIPT, Script(b"rem cmd\r\necho 1\r\n", "x86.v2.ps1"), config)
    found = parts(disc(scripts=scripts)["user-data"])
    assert [(kind, content) for kind, _, content in found] == [
        ("script", SCRIPT.content),
        ("script", scripts[1].content),
        ("config", config.content),
    ]
    assert [name for _, name, _ in found] == ["000-first", "001-x86-v2", "002"], (
        "an extension would beat the first line"
    )


def test_options_and_files_become_what_cloudbase_init_knows() -> None:
    options = {
        "computer_name": "WEB1",
        "time_zone": "Europe/Berlin",
        "administrator_password": PASSWORD,
        "local_accounts": [{"name": "ops", "password": PASSWORD, "groups": ["Administrators"], "display_name": "Ops"}],
        "run_commands": ["echo 1"],
    }
    found = disc(options=options, files=(GuestFile("C:/Tools/a.bin", b"\x00\xff"),))
    assert json.loads(found["meta-data"]) == {
        "instance-id": VM.instance_id,
        "local-hostname": "WEB1",
        "admin-password": PASSWORD,
    }
    config = yaml.safe_load(found["user-data"])
    assert found["user-data"].startswith(b"#cloud-config\n") and set(config) <= set(CLOUD_CONFIG_KEYS)
    assert config["set_timezone"] == "Europe/Berlin" and config["runcmd"] == ["echo 1"]
    assert config["users"] == [{"name": "ops", "passwd": PASSWORD, "groups": ["Administrators"], "gecos": "Ops"}]
    [written] = config["write_files"]
    assert written["path"] == "C:\\Tools\\a.bin" and base64.b64decode(written["content"]) == b"\x00\xff"


def test_a_config_drive_has_openstacks_names() -> None:
    found = disc(
        scripts=(SCRIPT,), datasource="config_drive", options={"administrator_password": PASSWORD}, meta_data={"a": 1}
    )
    meta_data = json.loads(found["openstack/latest/meta_data.json"])
    assert meta_data == {"uuid": VM.instance_id, "hostname": "web1", "admin_pass": PASSWORD, "a": 1}


def test_the_name_of_the_vm_is_taken_where_it_can_be_one() -> None:
    assert json.loads(disc(scripts=(SCRIPT,))["meta-data"])["local-hostname"] == "web1"
    odd = MediaVm(VM.vm_uuid, "web 1 (old)", VM.instance_id)
    assert "local-hostname" not in json.loads(disc(scripts=(SCRIPT,), vm=odd)["meta-data"])
    assert "local-hostname" not in json.loads(disc(options={"computer_name": "*"})["meta-data"])


def test_the_network_comes_along() -> None:
    lan = {"match": {"macaddress": "52:54:00:12:34:56"}, "addresses": ["192.0.2.21/24"], "gateway4": "192.0.2.1"}
    network = {"version": 2, "ethernets": {"lan": lan}}
    assert json.loads(disc(scripts=(SCRIPT,), network=network)["network-config"]) == network
    found = disc(scripts=(SCRIPT,), network=network, datasource="config_drive")
    data = json.loads(found["openstack/latest/network_data.json"])
    assert data["links"][0]["ethernet_mac_address"] == "52:54:00:12:34:56"
    [there] = data["networks"]
    assert (there["link"], there["ip_address"], there["netmask"]) == ("lan", "192.0.2.21", "255.255.255.0")


def test_no_password_is_shown_of_a_disc() -> None:
    """T35."""
    account = {"name": "ops", "password": PASSWORD}
    options = {"administrator_password": PASSWORD, "local_accounts": [account], "run_commands": ["echo 1"]}
    for datasource in ("nocloud", "config_drive"):
        for scripts in ((), (SCRIPT,)):
            how = Customization(format="cloudbase_init", options=options, scripts=scripts, datasource=datasource)
            shown = preview(build(how, VM))
            assert PASSWORD not in shown and "web1" in shown


def test_winrm_is_prepared_by_the_script_of_the_role() -> None:
    found = disc(options={"winrm_prep": {"allowed_addresses": ["192.0.2.10"], "names": ["web1.example.com"]}})
    script = found["user-data"].decode()
    assert script.startswith("#ps1_sysnative\n") and powershell.foreign_to_powershell_3(script) == []
    assert script.rstrip().endswith("} -Names @('web1.example.com') -AllowedAddresses @('192.0.2.10')")


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"rem cmd\r\n", "batch"),
        (b"#ps1\n", "powershell"),
        (b"#ps1_sysnative\r\n", "powershell"),
        (b"#ps1_x86\n", "powershell_x86"),
        (b"#!/usr/bin/env python\n", "python"),
        (b"#!/bin/bash\n", "bash"),
        (b"#cloud-config\n", "cloud_config"),
        (b"<powershell>\nGet-Date\n</powershell>\n", "ec2"),
        (b"-----BEGIN CERTIFICATE-----\n", "certificate"),
        (b"\x1f\x8b\x08", "gzip"),
        (b'Content-Type: multipart/mixed; boundary="a"\n', "multipart"),
        (b'MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary="a"\n', "unknown"),
        (b"#ps1_sysnativ\n", "unknown"),
        (b" #ps1\n", "unknown"),
        (b"#include\nhttp://192.0.2.1/\n", "unknown"),
    ],
)
def test_a_kind_is_known_by_cloudbase_inits_own_rules(content: bytes, kind: str) -> None:
    assert kind_of(content) == kind


def test_what_cannot_be_is_refused_by_its_field() -> None:
    assert refused(scripts=(Script(b"Get-Date\n"),)).startswith("scripts[0].content begins with none of rem cmd")
    assert "only be all of the user data" in refused(scripts=(SCRIPT, Script(b"\x1f\x8b\x08")))
    assert refused(scripts=(SCRIPT,), meta_data={"instance-id": "x"}).startswith("meta_data.instance-id ")
    assert refused(scripts=(SCRIPT,), files=(GuestFile("/etc/motd", b""),)).startswith("files[0].path ")
    assert "give one as Europe/Berlin" in refused(options={"time_zone": "W. Europe Standard Time"})
    assert "options.autologon is not known" in refused(options={"autologon": {}})
    assert "at most 128000" in refused(scripts=(SCRIPT, Script(b"#ps1\n" + b"#" * 128_000)))
    assert "at most 32000" in refused(scripts=(SCRIPT,), meta_data={"a": "x" * 32_000})


def test_interfaces_by_mac_are_the_short_way_to_a_network() -> None:
    options = {"interfaces": [{"mac": "52:54:00:12:34:56", "addresses": ["192.0.2.10/24"], "gateway4": "192.0.2.1"}]}
    network = wanted_network(Customization(format="cloudbase_init", options=options))
    for datasource in ("nocloud", "config_drive"):
        short = disc(options=options, datasource=datasource)
        assert short == disc(network=network, datasource=datasource)
    assert "beside network" in refused(options=options, network=network)
