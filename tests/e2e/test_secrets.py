# SPDX-License-Identifier: GPL-3.0-or-later
"""An install that talks as much as Ansible can: no secret shows in any place where words are kept."""

import base64
import json
import sqlite3
from pathlib import Path

import pytest
from tests.canary.scanner import scan_bytes, scan_tree

from openngt.client import Client
from openngt_service.lab.service_process import ServiceProcess

from .conftest import Guests
from .hands import said
from .plays import Ansible

pytestmark = [pytest.mark.guest, pytest.mark.usefixtures("restored")]

SINKS_OF_GUEST = {
    "journal": "journalctl --no-pager -o export",
    "logs": "find /var/log -type f -exec cat {} +",
    "remote temporary files": "find /home/operator/.ansible /root/.ansible /tmp /var/tmp -type f -exec cat {} + || :",
    "readable by all": "find /usr/local /etc /run -xdev -type f -perm -004 -exec cat {} +",
    "processes": "cat /proc/[0-9]*/cmdline",
}


def key_lines(pem: str) -> dict[str, str]:
    """The body of a PEM private key, line by line: each is enough to show that the key was there."""
    body = pem.partition("PRIVATE KEY-----\n")[2].partition("-----END")[0]
    return {f"key line {number}": line for number, line in enumerate(body.split()) if len(line) > 40}


def test_no_secret_shows_in_any_output_log_record_or_remote_file(
    guests: Guests, service: ServiceProcess, client: Client, ansible: Ansible, tmp_path: Path
) -> None:
    vm = guests.web
    sinks = tmp_path / "sinks"
    sinks.mkdir()
    talkative = {
        "ANSIBLE_LOG_PATH": str(sinks / "ansible.log"),
        "ANSIBLE_CACHE_PLUGIN": "ansible.builtin.jsonfile",
        "ANSIBLE_CACHE_PLUGIN_CONNECTION": str(sinks / "facts"),
        "ANSIBLE_GATHERING": "implicit",
        "ANSIBLE_INJECT_INVOCATION": "true",
        # Modules go to the guest as files, which are left there.
        "ANSIBLE_KEEP_REMOTE_FILES": "true",
    }
    play = ansible.play(
        "install", "--limit", "web", "-vvvvv", "--diff", "-e", "ansible_pipelining=false", user="operator",
        environment=talkative,
    ).succeeded()  # fmt: skip
    (sinks / "stdout").write_text(play.output, encoding="utf-8")
    (sinks / "service.log").write_bytes(service.log.read_bytes())
    records = [client.tasks(), client.vms(), client.tokens(), list(client.audit()), client.health()]
    (sinks / "api.json").write_text(json.dumps(records), encoding="utf-8")
    with sqlite3.connect(service.state / "openngt.db") as database:
        (sinks / "database.sql").write_text("\n".join(database.iterdump()), encoding="utf-8")
    for name, command in SINKS_OF_GUEST.items():
        (sinks / name).write_bytes(base64.b64decode(said(vm, f"({command}) | base64")))

    keys = key_lines(said(vm, "cat /usr/local/openngt/config/identity.pem"))
    secrets = {
        "admin token": service.environment()["OPENNGT_TOKEN"],
        "sudo password": guests.lab.operator_password.read_text(encoding="ascii").strip(),
        **keys,
        **key_lines((service.state / "ca/ca.key").read_text(encoding="ascii")),
    }
    assert keys, "the guest has a key"
    assert scan_bytes(json.dumps(secrets).encode(), secrets, "itself"), "the scanner finds these secrets"
    assert scan_tree(sinks, secrets) == []
    assert "SSH: EXEC" in play.output, "it was talkative"
    assert (sinks / "remote temporary files").stat().st_size > 10_000, "modules were left in the guest"
