# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible's own WinRM connection talks to the simulator of a listener, so that roles can be tried through it."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import program
from tests.fakes.winrm_server import Certificate, Run, WinrmServer, make_certificate
from tests.fakes.winrm_server.ansible import modules

PASSWORD = "Pa55-canary"


def raw(run: Run) -> int:
    run.say(f"{run.user} ran {run.script}")
    return 0


def win_ping(arguments: dict[str, Any]) -> dict[str, Any]:
    return {"ping": arguments["data"]}


@pytest.fixture
def certificate(tmp_path: Path) -> Certificate:
    return make_certificate(tmp_path)


@pytest.fixture
def server(certificate: Certificate) -> Iterator[WinrmServer]:
    play = modules({"ansible.windows.win_ping": win_ping}, raw)
    with WinrmServer(play, users={"Administrator": PASSWORD}, certificate=certificate) as server:
        yield server


@pytest.fixture
def ask(collection: Path, certificate: Certificate, server: WinrmServer, tmp_path: Path) -> Any:
    """`ask(transport, module, arguments, **variables) -> (exit status, output)` of one `ansible` command."""

    def run(transport: str, module: str, arguments: str, **variables: object) -> tuple[int, str]:
        host = {
            "ansible_host": "127.0.0.1",
            "ansible_port": server.port,
            "ansible_connection": "winrm",
            "ansible_user": "Administrator",
            "ansible_password": PASSWORD,
            "ansible_winrm_transport": transport,
            "ansible_winrm_ca_trust_path": str(certificate.file),
            **variables,
        }
        inventory = tmp_path / "inventory.json"
        inventory.write_text(json.dumps({"all": {"hosts": {"web1": host}}}))
        done = subprocess.run(
            [program("ansible"), "-i", str(inventory), "web1", "-m", module, "-a", arguments],
            env={
                **os.environ,
                "ANSIBLE_COLLECTIONS_PATH": str(collection),
                "ANSIBLE_HOME": str(tmp_path / "ansible"),
            },
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        return done.returncode, done.stdout + done.stderr

    return run


@pytest.mark.parametrize("transport", ["ntlm", "basic"])
def test_raw_commands_run(transport: str, ask: Any, server: WinrmServer) -> None:
    status, output = ask(transport, "ansible.builtin.raw", "hostname; whoami")
    assert status == 0 and "Administrator ran hostname; whoami" in output, output
    assert server.shells == {}


@pytest.mark.parametrize("variables", [{}, {"ansible_winrm_message_encryption": "always"}], ids=["plain", "encrypted"])
def test_a_module_of_ansible_windows_is_answered(
    variables: dict[str, str], ask: Any, server: WinrmServer, collection: Path
) -> None:
    status, output = ask("ntlm", "ansible.windows.win_ping", "data=hello", **variables)
    assert status == 0 and '"ping": "hello"' in output, output
    assert any(seen.encrypted for seen in server.seen) == bool(variables)


def test_a_module_without_a_simulator_fails_by_its_name(ask: Any, collection: Path) -> None:
    status, output = ask("ntlm", "ansible.windows.win_hostname", "name=web1")
    assert status != 0 and "no simulator of ansible.windows.win_hostname" in output, output


def test_ansible_refuses_a_certificate_that_it_cannot_verify(ask: Any, server: WinrmServer, tmp_path: Path) -> None:
    """T31: the way that the per-host playbook takes is verified as well."""
    other = make_certificate(tmp_path)
    status, output = ask("basic", "ansible.builtin.raw", "hostname", ansible_winrm_ca_trust_path=str(other.file))
    assert status != 0 and "certificate verify failed" in output, output
    assert server.seen == []
