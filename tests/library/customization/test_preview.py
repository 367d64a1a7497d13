# SPDX-License-Identifier: GPL-3.0-or-later
"""What is shown of a disc: what it does, no secret of it, and that something has changed."""

import base64
import gzip
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openngt.customization.media import build
from openngt.customization.model import Customization, GuestFile, Media, MediaFile, MediaVm, Script
from openngt.customization.preview import preview

VM = MediaVm("6f1c0c2e-9d3a-4d0e-8a55-0c6a1f0b7e21", "web1", "i-1")
SECRET = "hunter2-Zq9"
KEY = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjE\n-----END OPENSSH PRIVATE KEY-----"
CRYPT = "$6$saltsalt$" + "Qx7" * 20


def of_user_data(content: str | bytes) -> str:
    data = content.encode() if isinstance(content, str) else content
    return preview(Media("cidata", (MediaFile("user-data", data),)))


def test_what_it_does_can_be_read() -> None:
    customization = Customization(
        options={"hostname": "web1", "packages": ["nginx"], "users": [{"name": "eva", "password": SECRET}]},
        scripts=(Script(b"#!/bin/sh\necho hunter2-Zq9\n", "first.sh"),),
        files=(GuestFile("/etc/motd", b"hello\n"),),
        network={"version": 2, "ethernets": {"lan": {"addresses": ["192.0.2.21/24"]}}},
        meta_data={"role": "web", "admin_pass": SECRET},
    )
    for datasource in ("nocloud", "config_drive"):
        if datasource == "config_drive":
            customization = Customization(options=customization.options, datasource="config_drive")
        shown = preview(build(customization, VM, reporter=f"#!/bin/sh\n# {SECRET}\n"))
        assert "hostname: web1" in shown and "- nginx" in shown and "name: eva" in shown
        assert SECRET not in shown
    shown = preview(build(Customization(network=customization.network, files=(GuestFile("/a", b"x"),)), VM))
    assert "i-1" in shown


def test_a_file_is_its_size_and_digest_so_that_a_change_shows() -> None:
    digest = hashlib.sha256(b"hello\n").hexdigest()
    plain = of_user_data("#cloud-config\nwrite_files:\n- {path: /etc/motd, content: 'hello\n\n'}\n")
    in_base64 = "#cloud-config\nwrite_files:\n- {path: /etc/motd, encoding: b64, content: aGVsbG8K}\n"
    coded = of_user_data(in_base64)
    assert f"(6 bytes, sha256 {digest})" in plain and f"(6 bytes, sha256 {digest})" in coded
    carried = preview(Media("config-2", (MediaFile("openstack/content/0000", b"hello\n"),)))
    assert carried == f"label: config-2\n== openstack/content/0000\n(6 bytes, sha256 {digest})\n"


@pytest.mark.parametrize(
    "config",
    [
        f"password: {SECRET}",
        "password: 4711",
        f"chpasswd: {{list: ['root:{SECRET}']}}",
        f"chpasswd:\n  list: |\n    root:{SECRET}\n    eva:x",
        f"chpasswd: {{users: [{{name: root, password: {SECRET}, type: text}}]}}",
        f"users: [{{name: a, plain_text_passwd: {SECRET}}}]",
        f"users: [{{name: a, passwd: {CRYPT}}}]",
        f"users: [{{name: a, hashed_passwd: {CRYPT}}}]",
        "ssh_keys:\n  rsa_private: |\n" + "".join(f"    {line}\n" for line in KEY.splitlines()),
        f"runcmd: ['echo root:{SECRET} | chpasswd']",
        f"runcmd: [[mysql, -u, root, '-p{SECRET}']]",
        f"runcmd: [[curl, --user, 'me:{SECRET}', 'https://example.com/']]",
        f"runcmd: [[tool, --token, {SECRET}]]",
        f"bootcmd: ['curl https://me:{SECRET}@example.com/a']",
        f"runcmd: ['curl https://example.com/a?x={SECRET}']",
        f"phone_home: {{url: 'https://example.com/?t={SECRET}'}}",
        f"ubuntu_pro: {{token: {SECRET}}}",
        f"rh_subscription: {{activation-key: {SECRET}}}",
        f"random_seed: {{data: {SECRET}}}",
        f"wireguard: {{interfaces: [{{name: wg0, config_path: /a, content: 'PrivateKey = {SECRET}'}}]}}",
        f"chef: {{validation_cert: {SECRET}}}",
        "runcmd: ['export X=AbCdEfGhIj0123456789KLmn']",
        f"bootcmd: ['curl https://me:p@{SECRET}@example.com/a']",
        f"apt: {{conf: 'Acquire::http::Proxy \"http://me:{SECRET}@proxy:1\";'}}",
    ],
)
def test_no_secret_of_a_cloud_config_shows(config: str) -> None:
    shown = of_user_data(f"#cloud-config\n{config}\n")
    assert not any(part in shown for part in (SECRET, "4711", CRYPT, "b3BlbnNzaC1r", "AbCdEfGhIj"))
    assert config.partition(":")[0] + ":" in shown


@pytest.mark.parametrize(
    "config",
    [
        "users:\n- name: eva\n  lock_passwd: false\n  ssh_authorized_keys:\n  - ssh-ed25519 AAAAC3NzaC1lZDI1 eva\n",
        "runcmd:\n- - mkdir\n  - -p\n  - /srv/www\n- systemctl enable --now nginx\n",
        "ssh_pwauth: true\nchpasswd:\n  expire: false\n",
    ],
)
def test_what_is_no_secret_shows_as_it_is(config: str) -> None:
    assert of_user_data(f"#cloud-config\n{config}") == f"label: cidata\n== user-data\n#cloud-config\n{config}"


def test_scripts_in_any_form_are_their_size_and_digest() -> None:
    script = f"#!/bin/sh\necho {SECRET}\n".encode()
    digest = hashlib.sha256(script).hexdigest()
    message = (
        b"MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=B\n\n"
        b'--B\nContent-Type: text/x-shellscript\nContent-Disposition: attachment; filename="first.sh"\n'
        b"Content-Transfer-Encoding: base64\n\n" + base64.encodebytes(script) + b"--B\n"
        b"Content-Type: text/cloud-config\n\npassword: hunter2-Zq9\nhostname: web1\n--B--\n"
    )
    for content in (script, gzip.compress(script, mtime=0), message, gzip.compress(message, mtime=0)):
        shown = of_user_data(content)
        assert digest in shown and SECRET not in shown
    assert "first.sh" in of_user_data(message) and "hostname: web1" in of_user_data(message)


def test_what_cannot_be_read_is_its_size_and_digest() -> None:
    for content in (b"#cloud-config\na: [\n", b"#cloud-config\na: 1\na: hunter2-Zq9\n", b"\x1f\x8bhunter2-Zq9"):
        shown = of_user_data(content)
        assert hashlib.sha256(content).hexdigest() in shown and SECRET not in shown


def test_the_reporter_is_only_named_since_its_word_is_a_secret_and_new_each_time() -> None:
    first = preview(build(Customization(options={"hostname": "a"}), VM, reporter=f"#!/bin/sh\n# {SECRET}1\n"))
    assert first == preview(build(Customization(options={"hostname": "a"}), VM, reporter=f"#!/bin/sh\n# {SECRET}2\n"))


ANSWERS = f"""<?xml version="1.0" encoding="utf-8"?>
<unattend xmlns="urn:schemas-microsoft-com:unattend"><settings pass="oobeSystem">
<component name="Microsoft-Windows-Shell-Setup"><ComputerName>web1</ComputerName><ProductKey>{SECRET}</ProductKey>
<UserAccounts><AdministratorPassword><Value>{SECRET}</Value><PlainText>true</PlainText></AdministratorPassword>
<LocalAccounts><LocalAccount><Name>eva</Name><Password><Value>{SECRET}</Value></Password></LocalAccount>
</LocalAccounts></UserAccounts><FirstLogonCommands>
<SynchronousCommand><CommandLine>net user eva {SECRET}</CommandLine></SynchronousCommand>
<SynchronousCommand><CommandLine>winrm quickconfig -q</CommandLine></SynchronousCommand></FirstLogonCommands>
</component></settings></unattend>"""


def test_an_answer_file_shows_its_settings_without_their_secrets() -> None:
    shown = preview(Media("OPENNGT", (MediaFile("unattend.xml", ANSWERS.encode()),)))
    assert SECRET not in shown
    for line in ("settings oobeSystem:", "ComputerName: web1", "Name: eva", "Value: ********", "winrm quickconfig -q"):
        assert line in shown


def test_an_answer_file_with_entities_is_not_expanded() -> None:
    bomb = b'<!DOCTYPE a [<!ENTITY b "hunter2-Zq9">]><a>&b;</a>'
    shown = preview(Media("OPENNGT", (MediaFile("Autounattend.xml", bomb),)))
    assert SECRET not in shown and "sha256" in shown


def test_a_rule_of_sudoers_that_asks_for_no_password_is_shown() -> None:
    rule = "ALL=(ALL) NOPASSWD:ALL"
    assert f"sudo: {rule}" in of_user_data(f"#cloud-config\nusers:\n- name: ops\n  sudo: {rule}\n")
    assert SECRET not in of_user_data(f"#cloud-config\nfinal_message: NOPASSWD:ALL password {SECRET}\n")


def test_a_long_text_is_only_counted() -> None:
    assert "final_message: '******** (9000 characters)'" in of_user_data(
        "#cloud-config\nfinal_message: " + "word " * 1799 + "words\n"
    )


@given(st.sampled_from(["user-data", "meta-data", "meta_data.json", "unattend.xml"]), st.binary(max_size=200))
def test_whatever_bytes_are_on_a_disc_a_text_comes_out(name: str, content: bytes) -> None:
    for start in (b"", b"#cloud-config\n", b"MIME-Version: 1.0\n", b"\x1f\x8b\x08"):
        assert preview(Media("cidata", (MediaFile(name, start + content),))).startswith("label: cidata\n")
