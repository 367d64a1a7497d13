# SPDX-License-Identifier: GPL-3.0-or-later
"""`customization_info` on a Windows host: what is sent there, and what its answer comes to.

No PowerShell runs and no real Windows is met here: a simulated guest takes Ansible's own WinRM connection.
"""

import base64
import gzip
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from plugins.module_utils.openngt.customization.panther import LOGS
from plugins.module_utils.openngt.customization.panther_guest import MOST_BYTES, SCRIPT, judged, parameters
from plugins.module_utils.openngt.errors import OpenNGTError
from tests.conftest import program
from tests.fakes import powershell
from tests.fakes.winrm_server import WinrmServer, make_certificate
from tests.fakes.winrm_server.ansible import modules

PASSWORD = "Pa55-canary"
MODULE = "openngt.guest_tools.customization_info"
ACT, ERR = LOGS[7].path, LOGS[6].path
REFUSED = """\
2026-11-26 10:01:10, Error  [oobeldr.exe] SMI data results dump: Source = Name: Microsoft-Windows-Shell-Setup, Language: neutral, /settings/AutoLogon/LogonCount
2026-11-26 10:01:10, Error  [oobeldr.exe] SMI data results dump: Description = Value is invalid.
2026-11-26 10:01:11, Error  [oobeldr.exe] <Password>Pa55-canary</Password> Pass has failed status; system is in an invalid state.
"""  # noqa: E501


def sent(path: str, content: str) -> dict[str, Any]:
    packed = base64.b64encode(gzip.compress(content.encode("utf-16"))).decode()
    return {"path": path.replace("C:", "D:"), "size": 70_000, "content": packed}


def answer(logs: dict[str, Any], **more: Any) -> list[str]:
    return ["a line before", json.dumps({"logs": logs, "failed": {}, "elevated": True, **more})]


def test_the_script_is_powershell_3_and_is_told_where_to_look() -> None:
    assert powershell.foreign_to_powershell_3(SCRIPT) == []
    given = parameters()
    assert json.loads(given["Logs"]) == [log.path for log in LOGS] and given["Most"] == MOST_BYTES


def test_what_failed_is_told_by_pass_component_message_and_log() -> None:
    found = judged(answer({ACT: sent(ACT, REFUSED), ERR: sent(ERR, "")}))
    told = {name: found[name] for name in ("state", "phase", "pass", "component", "message", "log")}
    assert told == {
        "state": "failed",
        "phase": "oobe",
        "pass": "oobeSystem",
        "component": "Microsoft-Windows-Shell-Setup",
        "message": "/settings/AutoLogon/LogonCount: Value is invalid.",
        "log": r"D:\Windows\Panther\UnattendGC\setupact.log",
    }
    assert [log["phase"] for log in found["logs"]] == ["oobe", "oobe"] and found["logs"][0]["size"] == 70_000
    assert len(found["last_lines"]) == 3 and "Pa55" not in json.dumps(found)


def test_a_guest_without_a_log_is_unknown_to_an_administrator_and_refused_to_others() -> None:
    assert judged(answer({}))["state"] == "unknown"
    for more in ({"elevated": False}, {"failed": {ACT: "Access to the path is denied."}}):
        with pytest.raises(OpenNGTError) as caught:
            judged(answer({}, **more))
        assert caught.value.code == "PERMISSION_DENIED" and "administrator" in caught.value.remedy


@pytest.mark.parametrize("content", ["not base64!", base64.b64encode(b"not gzip").decode(), 7, None])
def test_a_log_that_cannot_be_unpacked_is_told(content: Any) -> None:
    with pytest.raises(OpenNGTError) as caught:
        judged(answer({ACT: {"path": ACT, "size": 1, "content": content}}))
    assert caught.value.code == "PROTOCOL_ERROR"


def test_a_guest_that_sends_a_bomb_is_read_to_the_bound() -> None:
    """T28: what unpacks to more than was asked for is cut there."""
    line = "2026-11-26 10:01:10, Info  [oobeldr.exe] x\n"
    found = judged(answer({ACT: sent(ACT, line * 2_000_000)}))
    assert found["state"] == "running" and len(found["last_lines"]) == 20


class Host:
    """A Windows host of an inventory."""

    def __init__(self, collection: Path, folder: Path) -> None:
        self.collection, self.folder = collection, folder
        self.certificate = make_certificate(folder)
        self.asked: list[dict[str, Any]] = []
        self.answer: dict[str, Any] = {"output": answer({ACT: sent(ACT, REFUSED)}), "error": []}
        play = modules({"ansible.windows.win_powershell": self.powershell})
        self.server = WinrmServer(play, users={"admin": PASSWORD}, certificate=self.certificate)

    def powershell(self, arguments: dict[str, Any]) -> dict[str, Any]:
        self.asked.append(arguments)
        return self.answer

    def run(self, *words: str) -> tuple[int, str]:
        host = {
            "ansible_host": "127.0.0.1",
            "ansible_port": self.server.port,
            "ansible_connection": "winrm",
            "ansible_user": "admin",
            "ansible_password": PASSWORD,
            "ansible_winrm_transport": "ntlm",
            "ansible_winrm_ca_trust_path": str(self.certificate.file),
        }
        inventory = self.folder / "inventory.json"
        inventory.write_text(json.dumps({"all": {"hosts": {"web1": host}}}))
        done = subprocess.run(
            [program("ansible"), "web1", "-i", str(inventory), "-m", MODULE, *words],
            env={
                **{name: value for name, value in os.environ.items() if not name.startswith("OPENNGT_")},
                "ANSIBLE_COLLECTIONS_PATH": str(self.collection),
                "ANSIBLE_HOME": str(self.folder / "ansible"),
                "ANSIBLE_NOCOLOR": "true",
            },
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        said = done.stdout + done.stderr
        assert PASSWORD not in said
        return done.returncode, said


@pytest.fixture
def host(collection: Path, tmp_path: Path) -> Iterator[Host]:
    one = Host(collection, tmp_path)
    with one.server:
        yield one


def test_a_windows_host_is_asked_over_winrm_and_without_a_service(host: Host) -> None:
    status, said = host.run("--check")
    assert status == 0 and '"changed": false' in said, said
    assert '"pass": "oobeSystem"' in said and "/settings/AutoLogon/LogonCount: Value is invalid." in said
    [asked] = host.asked
    assert asked["script"].strip() == SCRIPT.strip() and asked["parameters"] == parameters()


def test_what_is_for_the_service_is_not_asked_of_a_windows_guest(host: Host) -> None:
    status, said = host.run("-a", '{"vm": ["web1"], "wait": true}')
    assert status == 2 and "INVALID_INPUT" in said and "delegate_to: localhost" in said, said
    assert host.asked == []


def test_a_guest_whose_powershell_fails_says_so(host: Host) -> None:
    host.answer = {"output": [], "error": [{"output": "it is broken"}], "failed": True}
    status, said = host.run()
    assert status == 2 and "COMMAND_FAILED" in said, said
